package config

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

// The bounds of what a file may ask for.
const (
	leastLease    = 30 * time.Millisecond // below it the scheduler alone ends leases (a heartbeat gap under load is 39 ms)
	mostLease     = time.Hour
	leastInterval = 5 * time.Millisecond  // a sixth of leastLease
	leastRaft     = 50 * time.Millisecond // below it elections begin by mistake on a busy machine
	mostRaft      = time.Second
	// A lease holds this many heartbeats, so that one lost datagram, or two,
	// does not end it.
	beatsPerLease = 6
)

// presets are the words of the key `timing`, the default first.
var presets = []string{"lan", "fast", "wan"}

// Preset is the timing that a word of the key `timing` stands for.
func Preset(word string) (fsm.Timing, bool) {
	ms := func(heartbeat, lease, raft time.Duration) (fsm.Timing, bool) {
		raft *= time.Millisecond
		return fsm.Timing{
			Preset: word, Heartbeat: heartbeat * time.Millisecond, Lease: lease * time.Millisecond,
			RaftHeartbeat: raft, RaftElection: raft, RaftLease: raft / 2,
		}, true
	}
	switch word {
	case "lan":
		return ms(50, 300, 100)
	case "fast":
		return ms(10, 50, 50)
	case "wan":
		return ms(500, 3000, 1000)
	default:
		return fsm.Timing{}, false
	}
}

// timing reads the preset or Flip's own two keys.
func (p *parser) timing(top object) fsm.Timing {
	word, preset := top.word("timing", presets)
	v, f := top.oneOf("gossip_interval", "heartbeat_interval")
	gossip, interval := p.duration(v, f, leastInterval, mostLease)
	v, f = top.oneOf("ping_timeout", "lease")
	ttl, lease := p.duration(v, f, leastLease, mostLease)

	if n, unused := top.integer("ping_per_interval", 1, 1<<31); unused.good {
		p.note(unused.keyAt, unused.key, "", "%d is not used: every voter hears every heartbeat", n)
	}
	if preset.set && (interval.set || lease.set) {
		other := lease
		if !lease.set {
			other = interval
		}
		p.fail(preset.keyAt, preset.key, "keep one of the two", "cannot stand beside %s", other.key)
	}
	if !interval.set && !lease.set {
		if !preset.good {
			word = "lan"
		}
		t, _ := Preset(word)
		return t
	}
	return p.flipTiming(gossip, interval, ttl, lease)
}

// flipTiming is the timing from Flip's keys, of which one may be missing.
func (p *parser) flipTiming(gossip time.Duration, interval field, ttl time.Duration, lease field) fsm.Timing {
	if interval.good && lease.good && 2*ttl < 3*gossip {
		p.fail(lease.at, lease.key, "at least "+short(gossip+gossip/2),
			"%s is less than 1.5 x %s, which is %s", short(ttl), interval.key, short(gossip))
		return fsm.Timing{}
	}
	if !lease.set {
		ttl = beatsPerLease * gossip
		switch {
		case !interval.good:
		case ttl > mostLease:
			p.fail(interval.at, interval.key, "or set ping_timeout", "%s is out of range: %s to %s", short(gossip), short(leastInterval), short(mostLease/beatsPerLease))
		default:
			p.note(interval.keyAt, interval.key, "ping_timeout sets it", "silence is borne for %s, six times as long", short(ttl))
		}
	}
	beat := ttl / beatsPerLease
	if interval.good && gossip < beat {
		beat = gossip
	}
	if interval.good && beat < gossip {
		p.note(interval.at, interval.key, "",
			"heartbeats go every %s instead of every %s: a sixth of %s, so that a lost datagram does not end a lease",
			short(beat), short(gossip), short(ttl))
	}
	raft := min(max(ttl/3, leastRaft), mostRaft)
	return fsm.Timing{
		Preset: "file", Heartbeat: beat, Lease: ttl,
		RaftHeartbeat: raft, RaftElection: raft, RaftLease: raft / 2,
	}
}
