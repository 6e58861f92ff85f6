package ip

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// awaiting is a job that waits for another member to let go.
func awaiting(job fsm.Job) fsm.Job {
	job.Blocked = []fsm.Blocker{{Entry: fsm.Entry{Member: "n2", AtMostOne: true}}}
	return job
}

// What was asked while the item waited for others need not be asked again.
func TestAskedAhead(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		job := asking("a", "10.0.0.5/32")
		acquired := func() time.Duration {
			began := time.Now()
			must(t, w.d.Acquire(t.Context(), job))
			took := time.Since(began)
			must(t, w.d.Release(t.Context(), job))
			return took
		}
		if took := acquired(); took != askFor {
			t.Fatalf("not asked ahead: delayed by %v", took)
		}
		w.d.Awaited(awaiting(job))
		time.Sleep(2 * time.Millisecond)
		if took := acquired(); took != 3*time.Millisecond {
			t.Errorf("while it is asked: delayed by %v", took)
		}
		if took := acquired(); took != askFor {
			t.Errorf("an answer counts once: delayed by %v", took)
		}
		w.d.Awaited(awaiting(job))
		time.Sleep(500 * time.Millisecond)
		if took := acquired(); took != 0 {
			t.Errorf("asked ahead: delayed by %v", took)
		}
		w.d.Awaited(awaiting(job))
		time.Sleep(2 * time.Second)
		if took := acquired(); took != askFor {
			t.Errorf("an old answer: delayed by %v", took)
		}
		w.d.Awaited(awaiting(job))
		time.Sleep(10 * time.Millisecond)
		job.Token++
		if took := acquired(); took != askFor {
			t.Errorf("another decision's answer: delayed by %v", took)
		}
	})
}

// Strangers are found while the item waits, and the one who still holds it is
// none.
func TestAskedAheadFindsStrangers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		addr := netip.MustParseAddr("10.0.0.5")
		job := asking("a", "10.0.0.5/32")
		w.answers[addr] = memberMAC
		w.d.Awaited(awaiting(job))
		time.Sleep(10 * time.Millisecond)
		if got := w.d.Unfit(&job); got != "" {
			t.Errorf("the holder counts as a stranger: %s", got)
		}
		w.others(func() { w.answers[addr] = strangeMAC })
		w.d.Awaited(awaiting(job))
		time.Sleep(10 * time.Millisecond)
		if got := w.d.Unfit(&job); !strings.Contains(got, "no member of this cluster") || w.rechecks.Load() == 0 {
			t.Errorf("a stranger is not found: %q", got)
		}
		if err := w.d.Acquire(t.Context(), job); err == nil {
			t.Error("acquired although a stranger answers")
		}
	})
}
