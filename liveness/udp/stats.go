package udp

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/secure"
)

// Drop is why a datagram was not taken in.
type Drop uint8

// The reasons.
const (
	DropForeign     Drop = iota // does not verify: another key, or not flip's
	DropReplay                  // was here before
	DropVersion                 // of another wire version
	DropCluster                 // of another cluster with the same key
	DropUnfounded               // of, or to, a server that belongs to no cluster yet
	DropMisdirected             // for another server: two share an address
	DropUnknown                 // of a kind that this release does not know
	DropMalformed               // not what it says it is
	DropOldKey                  // sealed with a key that was rotated away
	drops
)

// String is the word that logs and status use.
func (d Drop) String() string {
	words := [...]string{
		"other-key", "replay", "other-version", "other-cluster", "no-cluster",
		"misdirected", "unknown-kind", "malformed", "rotated-key",
	}
	if int(d) < len(words) {
		return words[d]
	}
	return "unknown"
}

// dropOf sorts an error of opening or decoding.
func dropOf(err error) Drop {
	switch {
	case errors.Is(err, secure.ErrReplay):
		return DropReplay
	case errors.Is(err, secure.ErrRotatedAway):
		return DropOldKey
	case errors.Is(err, secure.ErrVersion):
		return DropVersion
	case errors.Is(err, errKind):
		return DropUnknown
	case errors.Is(err, errMalformed), errors.Is(err, errTooLong):
		return DropMalformed
	default: // ErrForeign; and ErrShort: nobody who has the key sends so little
		return DropForeign
	}
}

// Drops counts datagrams by Drop.
type Drops [drops]uint64

// PeerStats is what the socket knows of one server.
type PeerStats struct {
	Name  fsm.MemberID
	Heard time.Duration // since its last datagram that verified; negative: none yet
	// Received were taken in from it, Sent were given to the kernel for it.
	Received, Sent uint64
	// Drops came from its address, or verified as its own and were refused.
	Drops Drops
	// Refused is the time since the last of them, and Why it was refused;
	// negative: none. Founding's own (DropUnfounded) do not count.
	Refused      time.Duration
	Why          Drop
	OtherCluster string // the id it sent with the last DropCluster
	SendError    string // of the last sending, if it failed
	// RTT and RTTMin are the median and the least of the round trips of the last
	// seconds; 0: unknown.
	RTT, RTTMin time.Duration
	// Loss is the share of this process's heartbeats to it that it did not
	// acknowledge, 0 to 1; -1: unknown. One that refuses them counts as lost.
	Loss float64
	// LossFrom is the share of its heartbeats that did not arrive here, as Loss.
	LossFrom float64
	Lease    liveness.Peer
}

// peer is what is kept per server.
type peer struct {
	PeerStats
	last, refused time.Duration
	beat          time.Duration // the last heartbeat, if beats
	beats         bool
	ever, denied  bool // whether last, refused mean anything
	out           echoes
	in            arrivals
}

// logEvery bounds the log: one line per reason in this time.
const logEvery = 10 * time.Second

// statistics are the counters behind Peers. They are bounded by the number of
// servers: a stranger's datagrams share one set.
type statistics struct {
	log       zerolog.Logger
	peers     map[fsm.MemberID]*peer
	addresses map[netip.AddrPort]fsm.MemberID
	total     Drops
	samplers  [drops]zerolog.Sampler
	trouble   zerolog.Sampler
}

func newStatistics(log zerolog.Logger) statistics {
	s := statistics{
		log: log, peers: make(map[fsm.MemberID]*peer),
		trouble: &zerolog.BurstSampler{Burst: 1, Period: logEvery},
	}
	for i := range s.samplers {
		s.samplers[i] = &zerolog.BurstSampler{Burst: 1, Period: logEvery}
	}
	return s
}

// dropped is a datagram that was not taken in.
type dropped struct {
	why     Drop
	from    netip.AddrPort
	sender  fsm.MemberID // "" unless it verified
	cluster string
	mine    string
}

// drop counts a datagram, and logs it unless the same happened a moment ago.
func (s *statistics) drop(d dropped, now time.Duration) {
	s.total[d.why]++
	name, known := s.addresses[d.from]
	if !known {
		name = d.sender
	}
	if p := s.peers[name]; p != nil {
		p.Drops[d.why]++
		if d.why != DropUnfounded {
			p.refused, p.denied, p.Why = now, true, d.why
		}
		if d.why == DropCluster {
			p.OtherCluster = d.cluster
		}
	}
	if d.why == DropUnfounded {
		return // what every founding looks like
	}
	log := s.log.Sample(s.samplers[d.why])
	event := log.Warn().Str("reason", d.why.String()).Stringer("from", d.from).Uint64("total", s.total[d.why])
	if name != "" {
		event = event.Str("server", string(name))
	}
	if d.why == DropCluster {
		event = event.Str("cluster", d.cluster).Str("own_cluster", d.mine)
	}
	event.Msg("datagram dropped")
}

func (s *statistics) heard(name fsm.MemberID, now time.Duration) {
	if p := s.peers[name]; p != nil {
		p.last, p.ever = now, true
		p.Received++
	}
}

// beat takes a heartbeat in and answers with the time since the last one.
func (s *statistics) beat(name fsm.MemberID, now time.Duration) (gap time.Duration, again bool) {
	p := s.peers[name]
	if p == nil {
		return 0, false
	}
	gap, again = now-p.beat, p.beats
	p.beat, p.beats = now, true
	return gap, again
}

func (s *statistics) sent(name fsm.MemberID, err error) {
	p := s.peers[name]
	if p == nil {
		return
	}
	if err == nil {
		p.Sent++
		p.SendError = ""
		return
	}
	p.SendError = err.Error()
	log := s.log.Sample(s.trouble)
	log.Warn().Err(err).Str("server", string(name)).Msg("heartbeat not sent")
}

func (s *statistics) readError(err error) {
	log := s.log.Sample(s.trouble)
	log.Warn().Err(err).Msg("heartbeats cannot be read")
}

// know keeps counters for exactly the servers there are.
func (s *statistics) know(names []fsm.MemberID, self fsm.MemberID, resolve func(fsm.MemberID) (net.Addr, bool)) {
	s.addresses = make(map[netip.AddrPort]fsm.MemberID, len(names))
	current := make(map[fsm.MemberID]*peer, len(names))
	for _, name := range names {
		if name == self {
			continue
		}
		current[name] = s.peers[name]
		if current[name] == nil {
			current[name] = &peer{PeerStats: PeerStats{Name: name}}
		}
		if addr, ok := resolve(name); ok {
			s.addresses[keyOf(addr)] = name
		}
	}
	s.peers = current
}

// list is a copy of the counters, by name, each with what leases know of it.
func (s *statistics) list(now time.Duration, leases []liveness.Peer) []PeerStats {
	known := make(map[fsm.MemberID]liveness.Peer, len(leases))
	for _, l := range leases {
		known[l.Member] = l
	}
	out := make([]PeerStats, 0, len(s.peers))
	for _, name := range slices.Sorted(maps.Keys(s.peers)) {
		p := s.peers[name]
		stats := p.PeerStats
		stats.Heard, stats.Refused = -1, -1
		stats.RTT, stats.RTTMin, stats.Loss = p.out.measured(now)
		stats.LossFrom = p.in.loss(now)
		if p.ever {
			stats.Heard = now - p.last
		}
		if p.denied {
			stats.Refused = now - p.refused
		}
		stats.Lease = known[name]
		out = append(out, stats)
	}
	return out
}
