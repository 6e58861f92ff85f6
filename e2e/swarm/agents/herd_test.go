package main

import (
	"testing"

	"github.com/flip-ha/flip/e2e/mono"
)

func TestWhenServedAgain(t *testing.T) {
	type change = source
	for _, tt := range []struct {
		name       string
		by         []change
		since      mono.Time
		at         mono.Time
		ok, counts bool
	}{
		{"by another all the time", []change{{10, "n2"}}, 100, 0, false, false},
		{"by another, once by the one that is gone", []change{{5, "n1"}, {10, "n2"}}, 100, 0, false, false},
		{"still by the one that is gone", []change{{10, "n1"}}, 100, 0, false, true},
		{"by another at once", []change{{10, "n1"}, {103, "n2"}}, 100, 103, true, true},
		{"by nobody in between", []change{{10, "n1"}, {102, ""}, {140, "n3"}}, 100, 140, true, true},
		{"by nobody any more", []change{{10, "n1"}, {102, ""}}, 100, 0, false, true},
		{"lost twice", []change{{10, "n1"}, {103, "n2"}, {110, ""}, {150, "n3"}}, 100, 150, true, true},
		{"another was lost", []change{{10, "n2"}, {110, ""}, {120, "n2"}}, 100, 120, true, true},
		{"never", nil, 100, 0, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var n noted
			for _, c := range tt.by {
				n.note(c.by, c.at)
			}
			if at, ok, counts := n.served(tt.since, "n1"); at != tt.at || ok != tt.ok || counts != tt.counts {
				t.Errorf("%v %v %v, want %v %v %v", at, ok, counts, tt.at, tt.ok, tt.counts)
			}
		})
	}
}

func TestWhenKnown(t *testing.T) {
	var n noted
	if _, ok := n.knew(false, 0); ok {
		t.Error("nothing was read, and it is known")
	}
	n.noteMaintenance(false)
	before := mono.Now()
	n.noteMaintenance(true)
	between := mono.Now()
	n.noteMaintenance(true)
	n.noteMaintenance(false)
	for _, tt := range []struct {
		on    bool
		since mono.Time
		ok    bool
	}{{true, before, true}, {false, before, true}, {true, between, false}, {false, between, true}, {false, mono.Now(), false}} {
		if at, ok := n.knew(tt.on, tt.since); ok != tt.ok || ok && at < tt.since {
			t.Errorf("%v since %v: %v at %v", tt.on, tt.since, ok, at)
		}
	}
}
