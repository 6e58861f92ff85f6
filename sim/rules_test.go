package sim

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// play runs a rule's script.
func play(t *testing.T, r rule, without Without) *rig {
	t.Helper()
	s := r.setup
	s.rules = without
	w := newRig(t, s)
	r.script(w)
	return w
}

// tail is the end of a trace.
func tail(w *World, n int) string {
	lines := w.Trace()
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// TestRules plays each row of LEASES.md's table twice: with every rule, and with
// that one left out.
func TestRules(t *testing.T) {
	for _, r := range slices.Concat(leaseRules, holderRules, gateRules, guardRules, gapRules) {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			t.Run("with", func(t *testing.T) {
				w := play(t, r, Without{})
				if err := w.Violation(); err != nil {
					t.Errorf("%v\n%s", err, tail(w.World, 200))
				}
			})
			t.Run("without", func(t *testing.T) {
				w := play(t, r, r.without)
				var v *Violation
				if !errors.As(w.Violation(), &v) || v.Kind != r.finds {
					t.Errorf("found %v, want %q\n%s", w.Violation(), r.finds, tail(w.World, 200))
				}
			})
		})
	}
}
