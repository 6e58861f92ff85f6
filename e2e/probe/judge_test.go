package probe

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/mono"
)

const ms = mono.Time(time.Millisecond)

// series makes probes from a drawing: one character a millisecond, `.` answered
// at once, `x` lost, `l` answered after more than a second, `w` after 999 ms,
// ` ` not sent.
func series(drawing string) Series {
	var s Series
	s.Target.Name = "drawn"
	for i, c := range drawing {
		p := Probe{Sent: mono.Time(i) * ms, RTT: 100 * time.Microsecond}
		switch c {
		case ' ':
			continue
		case 'x':
			p.RTT = Never
		case 'l':
			p.RTT = Limit + time.Millisecond
		case 'w':
			p.RTT = Limit - time.Millisecond
		}
		s.Probes = append(s.Probes, p)
	}
	return s
}

func rep(c string, n int) string { return strings.Repeat(c, n) }

func TestJudge(t *testing.T) {
	calm := rep(".", 1000)
	for _, tc := range []struct {
		name            string
		probes, control string
		outage          time.Duration
		lost, void      int
		repeat          string
		err             error
	}{
		{name: "nothing lost", probes: calm},
		{name: "one probe", probes: rep(".", 500) + "x" + rep(".", 499), outage: time.Millisecond, lost: 1},
		{name: "a plain outage", probes: rep(".", 300) + rep("x", 200) + rep(".", 500), outage: 200 * time.Millisecond, lost: 200},
		{
			name: "what is answered in between does not count", probes: rep(".", 300) + rep("x", 100) + "..." + rep("x", 97) + rep(".", 500),
			outage: 197 * time.Millisecond, lost: 197,
		},
		{
			name: "a void edge of the second stretch", probes: rep(".", 300) + rep("x", 100) + rep(".", 100) + rep("x", 97) + rep(" ", 30) + rep(".", 373),
			outage: 227 * time.Millisecond, lost: 196, void: 32, repeat: "a void gap at the outage's end",
		},
		{name: "late is lost, waiting is not", probes: rep(".", 100) + rep("l", 10) + rep("w", 10) + rep(".", 880), outage: 10 * time.Millisecond, lost: 10},
		{name: "a pause of 20 ms is none", probes: rep(".", 500) + rep(" ", 19) + rep(".", 481)},
		{name: "a pause of 21 ms voids", probes: rep(".", 500) + rep(" ", 20) + rep(".", 480), void: 22},
		{
			name: "too many void", probes: rep(".", 500) + rep(" ", 60) + rep(".", 440), void: 62,
			repeat: "62 of 1000 probes are void",
		},
		{
			name: "a pause where it begins", probes: rep(".", 500) + rep(" ", 30) + rep("x", 100) + rep(".", 370),
			outage: 99 * time.Millisecond, lost: 99, void: 32, repeat: "a void gap at the outage's beginning",
		},
		{
			name: "a pause where it ends", probes: rep(".", 500) + rep("x", 100) + rep(" ", 30) + rep(".", 370),
			outage: 130 * time.Millisecond, lost: 99, void: 32, repeat: "a void gap at the outage's end",
		},
		{
			name: "a pause within", probes: rep(".", 500) + rep("x", 50) + rep(" ", 30) + rep("x", 50) + rep(".", 370),
			outage: 130 * time.Millisecond, lost: 98, void: 32,
		},
		{
			name: "lost together with the control", probes: rep(".", 500) + rep("x", 30) + rep(".", 470),
			control: rep(".", 500) + rep("x", 30) + rep(".", 470), void: 30,
		},
		{
			name: "the control hides no edge", probes: rep(".", 500) + rep("x", 100) + rep(".", 400),
			control: rep(".", 490) + rep("x", 20) + rep(".", 490), outage: 90 * time.Millisecond, lost: 90, void: 20,
			repeat: "a void gap at the outage's beginning",
		},
		{name: "not recovered", probes: rep(".", 500) + rep("x", 500), lost: 500, err: ErrNotRecovered},
		{name: "never answered", probes: rep("x", 1000), lost: 1000, err: ErrNotRecovered},
		{
			name: "a sender that stopped", probes: rep(".", 500), void: 502,
			repeat: "502 of 1000 probes are void",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var controls []Series
			if tc.control != "" {
				controls = append(controls, series(tc.control))
			}
			v, err := Judge(series(tc.probes), controls, 0, 1000*ms)
			if !errors.Is(err, tc.err) || v.Outage != tc.outage || v.Lost != tc.lost || v.Void != tc.void || v.Repeat != tc.repeat {
				t.Errorf("%+v, %v; want outage %v, lost %d, void %d, repeat %q", v, err, tc.outage, tc.lost, tc.void, tc.repeat)
			}
		})
	}
	sparse := series(rep(".", 500) + rep("x", 30) + rep(".", 470))
	sparse.Target.Every = 5
	if v, err := Judge(series(rep(".", 497)+rep("x", 36)+rep(".", 467)), []Series{sparse}, 0, 1000*ms); err != nil || v.Outage != 0 || v.Void != 38 {
		t.Errorf("around a control that is asked every 5 ms: %+v, %v", v, err)
	}
	if _, err := Judge(series(""), nil, 0, ms); err == nil {
		t.Error("a series without probes is judged")
	}
}
