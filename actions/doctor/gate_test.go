package doctor

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestGate(t *testing.T) {
	coarse := errors.New("the kernel's timers are too coarse")
	for name, tt := range map[string]struct {
		c     GateConfig
		want  Verdict
		words string
	}{
		"not wanted":  {GateConfig{}, Skip, "no at-most-one"},
		"coarse":      {GateConfig{Wanted: true, Coarse: coarse, Tick: 10 * time.Millisecond, Timing: fast}, Bad, "tick is 10 ms"},
		"owned":       {GateConfig{Wanted: true, Tried: true, Owned: true, Timing: lan}, OK, "renewed every 100 ms"},
		"open to all": {GateConfig{Wanted: true, Tried: true, Release: "6.8.0-45-generic", Timing: lan}, Warn, "on Linux 6.8.0-45-generic"},
		"none":        {GateConfig{Wanted: true, Err: errors.New("no nf_tables"), Release: "6.12.1"}, Warn, "modprobe"},
		"user":        {GateConfig{Wanted: true, Err: fmt.Errorf("x: %w", unix.EPERM), Release: "6.12.1"}, Skip, "takes root"},
		"not tried":   {GateConfig{Wanted: true, Release: "6.12.1"}, Skip, "should have"},
		"old":         {GateConfig{Wanted: true, Release: "5.15.0"}, Warn, "6.9 or later"},
	} {
		t.Run(name, func(t *testing.T) { is(t, Gate(tt.c)[0], tt.want, tt.words) })
	}
	for release, notes := range map[string]int{"5.17.9": 2, "5.18.0": 1, "6.18.44-fc-v669": 1, "weird": 1} {
		if got := Gate(GateConfig{Wanted: true, Tried: true, Owned: true, Release: release}); len(got) != notes {
			t.Errorf("%s: %s", release, lines(got))
		}
	}
}

func TestOlder(t *testing.T) {
	for release, want := range map[string]bool{
		"6.8.12": true, "6.9.0-rc1": false, "6.10.3": false, "7.0": false, "5.19": true, "": false, "6": false,
	} {
		if got := older(release, ownerPersist); got != want {
			t.Errorf("%q: %t", release, got)
		}
	}
}

func TestOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		r     Ruleset
		err   error
		t     Timing
		want  Verdict
		words string
	}{
		"few":       {Ruleset{Tables: 1, Rules: 12, Elements: 3, Took: time.Millisecond}, nil, lan, OK, "1 table, 12 rules, 3 elements; read in 1 ms"},
		"elements":  {Ruleset{Elements: 200_000, Took: 90 * time.Millisecond}, nil, lan, Warn, "for about 200 ms, lease 300 ms"},
		"uncounted": {Ruleset{Elements: 2_000_000, More: true, Took: 2 * time.Second}, nil, lan, Warn, "more than 2000000 elements"},
		"listing":   {Ruleset{Rules: 20_000, Took: 30 * time.Millisecond}, nil, fast, Warn, "longer than from one renewal of the gate to the next (16.7 ms)"},
		"slow lan":  {Ruleset{Rules: 20_000, Took: 30 * time.Millisecond}, nil, lan, OK, "20000 rules"},
		"user":      {Ruleset{}, fmt.Errorf("x: %w", unix.EPERM), lan, Skip, "only root"},
		"error":     {Ruleset{}, errors.New("odd"), lan, Skip, "odd"},
	} {
		t.Run(name, func(t *testing.T) { is(t, Others(tt.r, tt.err, true, tt.t)[0], tt.want, tt.words) })
	}
	if got := append(Others(Ruleset{}, nil, false, lan), Others(Ruleset{}, ErrNoTables, true, lan)...); len(got) != 0 {
		t.Errorf("%s", lines(got))
	}
	all := Others(Ruleset{Forwards: 1, Flowtables: []Flowtable{
		{Table: "fw", Name: "ft", Devices: []string{"eth0", "eth1"}},
		{Table: "fw", Name: "hw", Devices: []string{"eth2"}, Hardware: true},
	}}, nil, true, lan)
	whole(t, all...)
	want := "warn past the gate eth0,eth1: flowtable ft of table fw forwards established connections past the gate\n" +
		"warn past the gate eth2: flowtable hw of table fw has the hardware forward established connections\n" +
		"warn past the gate : 1 nftables rule with `fwd` to another interface, before all hooks\n"
	if got := lines(all[1:]); got != want || !strings.HasPrefix(lines(all), "ok nf_tables of others") {
		t.Errorf("got\n%swant\n%s", lines(all), want)
	}
}
