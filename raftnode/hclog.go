package raftnode

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/rs/zerolog"
)

// repeatAfter is how long an error of Raft's that names the same peer is not
// repeated: Raft logs each failed call, ten a second to a peer that is down.
const repeatAfter = 30 * time.Second

// hcLogger lets Raft log through zerolog, one level quieter: what is news to
// an operator (a new leader, a change of voters) this package says itself.
func hcLogger(log zerolog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Off, Output: io.Discard})
	// A pointer: sinks are the keys of a map.
	l.RegisterSink(&sink{log: log, last: make(map[string]time.Time)})
	return l
}

// sink implements hclog.SinkAdapter.
type sink struct {
	log zerolog.Logger

	mu   sync.Mutex
	last map[string]time.Time // when an error was last said, by message and peer
}

// Accept implements hclog.SinkAdapter.
func (s *sink) Accept(name string, level hclog.Level, msg string, args ...any) {
	to := quieter(level)
	if to == zerolog.WarnLevel && s.saidLately(msg, args) {
		to = zerolog.DebugLevel
	}
	e := s.log.WithLevel(to)
	if !e.Enabled() {
		return
	}
	e.Str("part", name)
	for i := 0; i+1 < len(args); i += 2 {
		e.Interface(fmt.Sprint(args[i]), plain(args[i+1]))
	}
	e.Msg(msg)
}

// quieter maps Raft's levels: its Info and Warn are the normal course of an
// election, its Error is a peer that does not answer.
func quieter(l hclog.Level) zerolog.Level {
	switch l {
	case hclog.Error:
		return zerolog.WarnLevel
	case hclog.Warn, hclog.Info:
		return zerolog.DebugLevel
	case hclog.NoLevel, hclog.Trace, hclog.Debug, hclog.Off:
		return zerolog.TraceLevel
	default:
		return zerolog.TraceLevel
	}
}

// maxRemembered bounds what saidLately remembers: more than a cluster's peers
// times Raft's messages. Forgetting it all costs a few repeated lines.
const maxRemembered = 256

func (s *sink) saidLately(msg string, args []any) bool {
	key := msg
	for i := 0; i+1 < len(args); i += 2 {
		if k := fmt.Sprint(args[i]); k == "peer" || k == "target" || k == "server-id" {
			key += "|" + fmt.Sprint(args[i+1])
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if t, ok := s.last[key]; ok && now.Sub(t) < repeatAfter {
		return true
	}
	if len(s.last) >= maxRemembered {
		clear(s.last)
	}
	s.last[key] = now
	return false
}

// plain is a value as zerolog can print it.
func plain(v any) any {
	switch v := v.(type) {
	case hclog.Format:
		if len(v) == 0 {
			return ""
		}
		format, ok := v[0].(string)
		if !ok {
			return strings.Trim(fmt.Sprint([]any(v)...), " ")
		}
		return fmt.Sprintf(format, v[1:]...)
	case error:
		return v.Error()
	case time.Duration:
		return v.String()
	case fmt.Stringer:
		return v.String()
	default:
		return fmt.Sprint(v)
	}
}
