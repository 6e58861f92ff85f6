package programs

import (
	"context"
	"errors"
	"time"
)

// ErrOver ends a stream: another one of the same claim has taken its place, or the
// claim has ended.
var ErrOver = errors.New("the stream is over")

// atOnce bounds the events that one call of Next gives.
const atOnce = 256

// Stream is what a program is told, over one connection.
type Stream struct {
	driver *Driver
	holder *holder
	begun  bool
	news   chan struct{} // capacity 1: there is something to tell
	over   chan struct{}
}

func newStream(d *Driver, h *holder) *Stream {
	s := &Stream{driver: d, holder: h, news: make(chan struct{}, 1), over: make(chan struct{})}
	s.poke()
	return s
}

func (s *Stream) poke() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// end ends it; the Driver's lock is held.
func (s *Stream) end() {
	if s.holder.stream == s {
		s.holder.stream = nil
	}
	select {
	case <-s.over:
	default:
		close(s.over)
	}
}

// Close ends it; what was not read is told again over the next one.
func (s *Stream) Close() {
	s.driver.mu.Lock()
	defer s.driver.mu.Unlock()
	s.end()
}

// Next waits for something to tell, and tells each second that it lives.
func (s *Stream) Next(ctx context.Context) ([]Event, error) {
	timer := time.NewTimer(beatEvery)
	defer timer.Stop()
	for {
		if events, err := s.take(); len(events) > 0 || err != nil {
			return events, err
		}
		select {
		case <-s.news:
		case <-s.over:
		case <-timer.C:
			return []Event{{Kind: Beat}}, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (s *Stream) take() ([]Event, error) {
	s.driver.mu.Lock()
	defer s.driver.mu.Unlock()
	if s.holder.stream != s {
		return nil, ErrOver
	}
	var out []Event
	if !s.begun {
		s.begun = true
		out = append(out, Event{Kind: Session})
	}
	out = append(out, s.holder.take(atOnce)...)
	if len(s.holder.unsent) > 0 {
		s.poke()
	}
	return out, nil
}
