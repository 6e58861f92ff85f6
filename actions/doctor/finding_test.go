package doctor

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	lan  = Timing{Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond}
	fast = Timing{Heartbeat: 10 * time.Millisecond, Lease: 50 * time.Millisecond}
	wan  = Timing{Heartbeat: 500 * time.Millisecond, Lease: 3 * time.Second}
)

// whole wants of every finding what all must have.
func whole(t *testing.T, all ...Finding) {
	t.Helper()
	if len(all) == 0 {
		t.Error("nothing was found at all")
	}
	for _, f := range all {
		wrong := f.Verdict == Warn || f.Verdict == Bad
		if f.Check == "" || f.Found == "" || wrong != (f.Do != "") || strings.Contains(f.Found+f.Do, "%!") {
			t.Errorf("not whole: %+v", f)
		}
		if _, known := map[Verdict]bool{OK: true, Note: true, Skip: true, Warn: true, Bad: true}[f.Verdict]; !known {
			t.Errorf("verdict of %+v", f)
		}
	}
}

// is wants a verdict, and words in what was found or is to do.
func is(t *testing.T, f Finding, v Verdict, words string) {
	t.Helper()
	whole(t, f)
	if f.Verdict != v || !strings.Contains(f.Check+" "+f.On+": "+f.Found+" "+f.Do, words) {
		t.Errorf("got %+v, want %s with %q", f, v, words)
	}
}

// lines is findings as one text, for what must be in it.
func lines(all []Finding) string {
	var b strings.Builder
	for _, f := range all {
		b.WriteString(string(f.Verdict) + " " + f.Check + " " + f.On + ": " + f.Found + "\n")
	}
	return b.String()
}

func TestWorst(t *testing.T) {
	for want, all := range map[Verdict][]Finding{
		OK:   nil,
		Skip: {{Verdict: OK}, {Verdict: Skip}, {Verdict: Note}},
		Warn: {{Verdict: Warn}, {Verdict: Skip}},
		Bad:  {{Verdict: Bad}, {Verdict: Warn}},
	} {
		if got := Worst(all); got != want {
			t.Errorf("%v: %s, want %s", all, got, want)
		}
	}
}

func TestBrief(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 999: "999 ns", 1234: "1.23 µs", 373_456: "373 µs", 1_034_567: "1.03 ms", 10_800_000: "10.8 ms",
		2 * time.Second: "2 s", 90 * time.Second: "1m30s", time.Hour: "1h0m",
	} {
		if got := brief(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
}

func TestSpread(t *testing.T) {
	var all []time.Duration
	for i := 200; i > 0; i-- {
		all = append(all, time.Duration(i))
	}
	if got := spreadOf(all); got != (spread{200, 101, 199, 200}) {
		t.Errorf("%+v", got)
	}
	if got := spreadOf(nil); got != (spread{}) {
		t.Errorf("of nothing: %+v", got)
	}
	if got := spreadOf(all[:1]); got != (spread{1, 200, 200, 200}) {
		t.Errorf("of one: %+v", got)
	}
}
