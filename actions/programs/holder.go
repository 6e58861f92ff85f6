package programs

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// holder is a program that has claimed a system, connected or not, for as long as its
// process lives and it does not leave.
type holder struct {
	claim
	proc   Process
	stream *Stream // nil: it is not connected
	// resumes: a former daemon had its claim, and it has not come to this one yet.
	resumes bool
	seq     uint64   // of the newest event
	sent    []*event // not acknowledged, in their order …
	unsent  []*event // … and not taken by the stream yet
	over    chan struct{}
}

// claim is what a program says of itself.
type claim struct {
	system  fsm.SystemID
	session string
	name    string
}

// String implements fmt.Stringer.
func (h *holder) String() string {
	if h.name == "" {
		return fmt.Sprintf("the program (process %d)", h.proc.ID().PID)
	}
	return fmt.Sprintf("the program %s (process %d)", h.name, h.proc.ID().PID)
}

// tell adds events for the program.
func (h *holder) tell(events ...*event) {
	h.unsent = append(h.unsent, events...)
	h.poke()
}

func (h *holder) poke() {
	if h.stream != nil {
		h.stream.poke()
	}
}

// retract takes back an event that was not sent.
func (h *holder) retract(e *event) bool {
	i := slices.Index(h.unsent, e)
	if i < 0 {
		return false
	}
	h.unsent = slices.Delete(h.unsent, i, i+1)
	return true
}

// take numbers the events that are sent now.
func (h *holder) take(most int) []Event {
	n := min(most, len(h.unsent))
	out := make([]Event, 0, n)
	for _, e := range h.unsent[:n] {
		h.seq++
		e.Seq = h.seq
		if e.Kind == Acquire {
			e.slot.given = e.Seq
		}
		out = append(out, e.Event)
	}
	h.sent = append(h.sent, h.unsent[:n]...)
	if h.unsent = h.unsent[n:]; len(h.unsent) == 0 {
		h.unsent = nil
	}
	return out
}

// again has all that the program has not read told to it once more; what it need not
// be told any more can be taken back meanwhile.
func (h *holder) again(read uint64) {
	i, _ := slices.BinarySearchFunc(h.sent, read+1, func(e *event, seq uint64) int { return cmp.Compare(e.Seq, seq) })
	h.unsent = append(slices.Clone(h.sent[i:]), h.unsent...)
	h.sent = h.sent[:i:i]
	h.seq = max(h.seq, read)
}

// acked takes off the list what the program has done; nil: it was done before.
func (h *holder) acked(seq uint64) *event {
	i, ok := slices.BinarySearchFunc(h.sent, seq, func(e *event, seq uint64) int { return cmp.Compare(e.Seq, seq) })
	if !ok {
		return nil
	}
	e := h.sent[i]
	h.sent = slices.Delete(h.sent, i, i+1)
	return e
}

// ended takes note that a program has ended, or has left: it has nothing any more. The
// lock is held.
func (d *Driver) ended(y *system, why string) {
	h := y.holder
	if h == nil {
		return
	}
	had := 0
	for k, s := range y.slots {
		if s.phase == nowhere {
			continue
		}
		had++
		s.event = nil
		d.free(k, s)
	}
	if h.stream != nil {
		h.stream.end()
	}
	y.holder, y.behind = nil, nil
	close(h.over)
	d.notice = true
	d.cfg.Log.Info().Str("system", string(y.id)).Stringer("program", h).Int("items", had).Msg(why)
	if err := d.cfg.Register.remove(h.session); err != nil {
		d.cfg.Log.Warn().Err(err).Msg("the list of programs still names one that has ended")
	}
}

// gone takes note that the program has let go of a slot unasked, or that it does not
// have what this daemon thinks. The lock is held.
func (d *Driver) gone(y *system, k fsm.Key, s *slot) {
	if s.phase == nowhere {
		return
	}
	if s.event != nil {
		y.retract(s.event)
		s.event = nil
	}
	d.free(k, s)
	d.notice = d.notice || s.lost
}

// beatEvery is how often a stream says that it lives.
const beatEvery = time.Second
