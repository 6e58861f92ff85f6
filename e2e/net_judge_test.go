package e2e

import (
	"time"

	"github.com/flip-ha/flip/e2e/results"
)

// secondThoughts is in how many trials the median counts where the first of them
// are beyond the limit: one trial of a takeover may meet whatever else the machine
// does. Two holders at once fail at the first.
const secondThoughts = 3

// beyond reports whether what was measured of a fault would not pass.
func (m *matrix) beyond(f fault) bool {
	for row, a := range map[string]aim{f.name: f.aim, f.undone: undoneAims[f.undone]} {
		for _, family := range families {
			key := results.Key{Fault: row, Timing: m.timing, Family: family}
			if d := m.seen[key]; row != "" && len(d) > 0 {
				r := results.Of(key, d, a[m.timing])
				if r.Limit() > 0 && r.Median > r.Limit() {
					m.t.Logf("%s, %s: %.0f ms is beyond %.0f: the median of three counts", row, family, r.Median, r.Limit())
					return true
				}
			}
		}
	}
	return false
}

// record makes rows of what was seen and judges them.
func (m *matrix) record() {
	m.t.Helper()
	var rows []results.Result
	var want []results.Key
	taken := map[results.Key]bool{}
	add := func(row string, a aim, more func(*results.Result)) {
		for _, family := range families {
			key := results.Key{Fault: row, Timing: m.timing, Family: family}
			if taken[key] {
				continue
			}
			taken[key] = true
			want = append(want, key)
			if d := m.seen[key]; len(d) > 0 {
				r := results.Of(key, d, a[m.timing])
				more(&r)
				rows = append(rows, r)
			}
		}
	}
	for _, f := range m.done {
		add(f.name, f.aim, func(r *results.Result) {
			r.Overlap, r.Twice = milliseconds(m.two[r.Key()]), milliseconds(m.twice[f.name])
		})
	}
	for _, f := range m.done {
		if f.undone != "" {
			add(f.undone, undoneAims[f.undone], func(*results.Result) {})
		}
	}
	record(m.t, rows, want)
}

func milliseconds(d time.Duration) *float64 {
	ms := float64(d) / float64(time.Millisecond)
	return &ms
}
