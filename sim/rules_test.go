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
	for _, r := range slices.Concat(leaseRules, holderRules, gateRules, guardRules, gapRules, listRules, onlineRules, keyRules) {
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

// gaveUp is what a schedule ends with that waits in vain.
type gaveUp struct{ what string }

// cases plays a rule's script with other clocks, delays and lags each time, and
// counts those in which the checker found what it was to find, or anything else.
func cases(t *testing.T, r rule, without Without, n int) (found, other, vain int) {
	t.Helper()
	for seed := range n {
		s := r.setup
		s.rules, s.vary = without, uint64(seed+2)
		func() {
			defer func() {
				switch e := recover().(type) {
				case nil:
				case gaveUp:
					vain++
				default:
					panic(e)
				}
			}()
			w := newRig(t, s)
			r.script(w)
			var v *Violation
			switch errors.As(w.Violation(), &v); {
			case v == nil:
			case v.Kind == r.finds:
				found++
			default:
				other++
			}
		}()
	}
	return found, other, vain
}

// TestTable measures each row of the table: FLIP_TABLE=200 plays so many cases of
// each schedule, with the rule and without, and as many random storms without it.
func TestTable(t *testing.T) {
	n, ok := number(t, "FLIP_TABLE")
	if !ok {
		t.Skip("it only measures: FLIP_TABLE=200 plays 200 cases of each row")
	}
	for _, r := range slices.Concat(leaseRules, holderRules, gateRules, guardRules, gapRules, listRules, onlineRules, keyRules) {
		found, other, vain := cases(t, r, r.without, int(n))
		with, bad, _ := cases(t, r, Without{}, int(n))
		storms, weather := 0, storm
		if len(r.setup.spares)+r.setup.agents > 0 {
			weather = onlineStorm
		}
		for seed := range n / 2 {
			var v *Violation
			if errors.As(weather(seed, false, r.without).Violation(), &v) && v.Kind == r.finds {
				storms++
			}
		}
		t.Logf("| %s | %d (other %d, in vain %d) / %d | with it %d | storms %d / %d |", r.name, found, other, vain, n, with+bad, storms, n/2)
	}
}
