package results

import (
	"bytes"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

func TestOf(t *testing.T) {
	key := Key{"holder cut", "lan", "ipv4"}
	for _, tc := range []struct {
		trials        []time.Duration
		median, worst float64
	}{
		{nil, 0, 0},
		{[]time.Duration{7 * ms}, 7, 7},
		{[]time.Duration{9 * ms, 1 * ms, 2 * ms}, 2, 9},
		{[]time.Duration{4 * ms, 1 * ms, 2 * ms, 3 * ms}, 2.5, 4},
	} {
		r := Of(key, tc.trials, 350*ms)
		want := Result{Fault: "holder cut", Timing: "lan", Family: "ipv4", Unit: "ms", Trials: len(tc.trials), Median: tc.median, Worst: tc.worst, Aim: 350}
		if r != want {
			t.Errorf("%v: %+v, want %+v", tc.trials, r, want)
		}
	}
}

func TestCheck(t *testing.T) {
	row := func(fault string, trials int, median, aim float64) Result {
		return Result{Fault: fault, Timing: "lan", Unit: "ms", Trials: trials, Median: median, Aim: aim}
	}
	want := []Key{{"cut", "lan", ""}}
	for name, tc := range map[string]struct {
		rows []Result
		says string
	}{
		"good":                   {[]Result{row("cut", 3, 700, 350)}, ""},
		"beyond twice":           {[]Result{row("cut", 3, 701, 350)}, "beyond 700"},
		"small, up to five":      {[]Result{row("cut", 3, 1495, 299)}, ""},
		"small, beyond five":     {[]Result{row("cut", 3, 101, 20)}, "beyond 100"},
		"missing":                {nil, "cut (lan ) was not measured"},
		"short":                  {[]Result{row("cut", 2, 1, 350)}, "2 trials, want 3"},
		"no aim":                 {[]Result{row("cut", 3, 1e6, 0)}, ""},
		"another row's shortage": {[]Result{row("cut", 3, 1, 350), row("heal", 1, 1, 50)}, "heal (lan ): 1 trials"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(tc.rows, want, 3)
			if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("%v, want %q", err, tc.says)
			}
		})
	}
}

func TestWriteMerges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	a, b := Result{Fault: "a", Timing: "lan"}, Result{Fault: "b", Timing: "fast"}
	if err := Write(path, []Result{a, b}); err != nil {
		t.Fatal(err)
	}
	newer := Result{Fault: "b", Timing: "fast", Median: 7, Aim: 14, Unit: "ms", Trials: 3}
	if err := Write(path, []Result{newer}); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if want := []Result{a, newer}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	var out bytes.Buffer
	if err := Table(&out, got); err != nil || !strings.Contains(out.String(), "0.50") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestGuarantees(t *testing.T) {
	two := func(ms float64) *float64 { return &ms }
	rows := []Result{
		{Fault: "cut", Timing: "lan", Family: "ipv4", Unit: "ms", Trials: 3, Median: 310, Worst: 320, Aim: 350, Overlap: two(0), Twice: two(0)},
		{Fault: "cut", Timing: "lan", Family: "ipv6", Unit: "ms", Trials: 3, Median: 312, Worst: 315, Aim: 350, Overlap: two(4), Twice: two(0)},
		{Fault: "heal", Timing: "lan", Family: "ipv4", Unit: "ms", Trials: 3, Median: 14},
		{Fault: "no gate", Timing: "lan", Family: "ipv4", Trials: 1, Overlap: two(900)},
		{Fault: "bet", Timing: "lan", Unit: "ms", Trials: 1, Median: 6000, Worst: 6000, Twice: two(300)},
	}
	var out bytes.Buffer
	if err := Guarantees(&out, rows); err != nil {
		t.Fatal(err)
	}
	const want = `
| cut | lan | 3 | 312 | 320 | 350 | 4.0 | 0.0 |
| no gate | lan | 1 | - | - | - | 900.0 | - |
| bet | lan | 1 | 6000 | 6000 | - | - | 300.0 |
`
	if _, body, _ := strings.Cut(out.String(), "|---|---|---|---|---|---|---|---|"); body != want {
		t.Errorf("%s", out.String())
	}
}
