package secure

import (
	"errors"
	"net"

	"github.com/rs/zerolog"
)

// Failure is why a connection did not get through.
type Failure string

// The reasons.
const (
	FailOtherKey    Failure = "other-key"    // a node of flip with another key
	FailOldKey      Failure = "rotated-key"  // … with a key that was rotated away
	FailCertificate Failure = "certificate"  // its certificate is not taken; not one that the key makes
	FailNotTLS      Failure = "not-tls"      // speaks something else
	FailHungUp      Failure = "hung-up"      // went away in the midst of it: a port scan
	FailSlow        Failure = "slow"         // did not end its handshake in time
	FailCrowded     Failure = "crowded"      // dropped for newer ones: too many at once
	FailProtocol    Failure = "protocol"     // a member that speaks none of the port's protocols
	FailBusy        Failure = "busy"         // an operator, when too many others are at work
	FailHandshake   Failure = "handshake"    // any other failure of the handshake
	FailNotAccepted Failure = "not-accepted" // through, but nobody wanted it
	FailAccept      Failure = "accept"       // the port itself failed for a moment
	FailClosing     Failure = "closing"      // the Listener was closed meanwhile
)

// failure is the count of one reason and the limit of its log lines.
type failure struct {
	count   uint64
	sampler zerolog.Sampler
}

// Failures counts, per reason, the connections that did not get through.
func (l *Listener) Failures() map[Failure]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[Failure]uint64, len(l.failed))
	for reason, f := range l.failed {
		out[reason] = f.count
	}
	return out
}

// count counts a failure, and logs it unless the same happened a moment ago.
func (l *Listener) count(reason Failure, from net.Addr, err error) {
	l.mu.Lock()
	f := l.failed[reason]
	if f == nil {
		f = &failure{sampler: &zerolog.BurstSampler{Burst: 1, Period: logEvery}}
		l.failed[reason] = f
	}
	f.count++
	total := f.count
	l.mu.Unlock()
	if reason == FailClosing {
		return
	}
	level := zerolog.WarnLevel
	if reason == FailHungUp {
		level = zerolog.DebugLevel // monitoring that only looks whether the port is open
	}
	log := l.log.Sample(f.sampler)
	event := log.WithLevel(level).Err(err).Str("reason", string(reason)).Uint64("total", total)
	if from != nil {
		event = event.Stringer("from", from)
	}
	var known *CertError
	if errors.As(err, &known) {
		event = event.Str("hint", known.Do)
	}
	switch reason {
	case FailOtherKey:
		event = event.Str("hint", "give both nodes the same `key`")
	case FailOldKey:
		event = event.Str("hint", "give that one the present key: `flip key show --secret` on a member prints it")
	default:
	}
	event.Msg("connection refused")
}
