package watch

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/mono"
)

var vip = netip.MustParseAddr("10.77.1.1")

// answers makes one answer each 5 ms from `from` up to and with `to`.
func answers(mac string, m Method, from, to int) []Answer {
	var out []Answer
	for t := from; t <= to; t += 5 {
		out = append(out, Answer{At: at(t), Addr: vip, MAC: mac, Method: m})
	}
	return out
}

func at(ms int) mono.Time { return mono.Time(ms) * mono.Time(time.Millisecond) }

func runsOf(parts ...[]Answer) []Run {
	var r Runs
	for _, p := range parts {
		for _, a := range p {
			r.Add(a)
		}
	}
	return r.All()
}

func TestRuns(t *testing.T) {
	got := runsOf(answers("a", ARP, 0, 100), answers("a", ARP, 160, 200), answers("a", ARP, 265, 265), answers("a", UDP, 50, 60))
	want := []Run{
		{Addr: vip, MAC: "a", Method: ARP, First: at(0), Last: at(200), N: 30},
		{Addr: vip, MAC: "a", Method: UDP, First: at(50), Last: at(60), N: 3},
		{Addr: vip, MAC: "a", Method: ARP, First: at(265), Last: at(265), N: 1},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestOverlaps(t *testing.T) {
	span := func(from, to int) []Span { return []Span{{at(from), at(to)}} }
	for _, tc := range []struct {
		name string
		runs []Run
		want []Span
	}{
		{name: "nobody"},
		{name: "one", runs: runsOf(answers("a", ARP, 0, 100))},
		{name: "one after the other", runs: runsOf(answers("a", ARP, 0, 100), answers("b", ARP, 105, 200))},
		{name: "frames in flight", runs: runsOf(answers("a", ARP, 0, 100), answers("b", ARP, 80, 200))},
		{name: "both", runs: runsOf(answers("a", ARP, 0, 100), answers("b", ARP, 75, 200)), want: span(75, 100)},
		{name: "both, by other methods", runs: runsOf(answers("a", ARP, 0, 100), answers("b", UDP, 50, 200)), want: span(50, 100)},
		{name: "within", runs: runsOf(answers("a", ARP, 0, 200), answers("b", UDP, 50, 90)), want: span(50, 90)},
		{
			name: "by turns, as two holders that miss questions", want: span(25, 100),
			runs: runsOf(
				answers("a", ARP, 0, 0), answers("a", ARP, 50, 50), answers("a", ARP, 100, 100),
				answers("b", ARP, 25, 25), answers("b", ARP, 75, 75), answers("b", ARP, 125, 125)),
		},
		{
			name: "away and back again",
			runs: runsOf(answers("a", ARP, 0, 100), answers("a", ARP, 200, 300), answers("b", ARP, 105, 195)),
		},
		{
			name: "two methods make one run", want: span(10, 90),
			runs: runsOf(answers("a", ARP, 0, 40), answers("a", UDP, 60, 90), answers("b", ARP, 10, 200)),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []Span
			for _, o := range Overlaps(tc.runs) {
				if o.Addr != vip || o.A != "a" || o.B != "b" {
					t.Errorf("%v", o)
				}
				got = append(got, o.During)
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestAnswersAround(t *testing.T) {
	runs := runsOf(answers("a", UDP, 0, 100), answers("a", UDP, 300, 400), answers("a", ARP, 200, 200))
	for _, tc := range []struct {
		before, want int
	}{{150, 100}, {50, 50}, {250, 200}, {500, 400}} {
		if got, ok := LastAnswer(runs, vip, "a", at(tc.before)); !ok || got != at(tc.want) {
			t.Errorf("last before %d: %v, %v; want %d ms", tc.before, got, ok, tc.want)
		}
	}
	for _, tc := range []struct {
		after, want int
	}{{-1, 0}, {50, 50}, {150, 300}, {350, 350}} {
		if got, ok := FirstAnswer(runs, vip, "a", at(tc.after)); !ok || got != at(tc.want) {
			t.Errorf("first after %d: %v, %v; want %d ms", tc.after, got, ok, tc.want)
		}
	}
	if _, ok := LastAnswer(runs, vip, "b", at(500)); ok {
		t.Error("b has answered")
	}
	if _, ok := FirstAnswer(runs, vip, "a", at(401)); ok {
		t.Error("an answer after the last one")
	}
}

func TestUnwatched(t *testing.T) {
	r := Report{Pauses: []Span{{at(0), at(30)}, {at(100), at(150)}}}
	if got := r.Unwatched(at(20), at(120)); got != 30*time.Millisecond {
		t.Errorf("%v, want 30 ms", got)
	}
}
