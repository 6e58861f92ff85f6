package main

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flip-ha/flip/config"
	"github.com/flip-ha/flip/deploy"
	"github.com/flip-ha/flip/fsm"
)

func TestParseTrace(t *testing.T) {
	lines, err := parseTrace("10 flip ip_up 192.168.0.2 7 22\n11 flip1 ip_down b 8 0\n12 flip ip_u")
	want := []traceLine{{10, "flip", hookUp, "192.168.0.2", 22}, {11, "flip1", hookDown, "b", 0}}
	if err != nil || !slices.Equal(lines, want) {
		t.Errorf("got %v, %v; want %v", lines, err, want)
	}
	for _, bad := range []string{"\n", "x flip ip_up a 7 22\n", "10 flip up a 7 22\n", "10 flip ip_up a 7\n", "10 flip ip_up a x 22\n", "10 flip ip_up a 7 -1\n"} {
		if lines, err := parseTrace("1 flip ip_up a 7 22\n" + bad); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v, %v; want an error that names line 2", bad, lines, err)
		}
	}
}

func TestHoldings(t *testing.T) {
	tests := []struct {
		name, trace string
		runs        map[string]bool
		want        map[string][]string
	}{
		{"up", "1 a ip_up x 7 1\n2 a ip_up w 7 1\n", map[string]bool{"a": true}, map[string][]string{"a": {"w", "x"}}},
		{"up and down", "1 a ip_up x 7 1\n2 a ip_down x 7 1\n", map[string]bool{"a": true}, map[string][]string{"a": nil}},
		{"down first", "1 a ip_down x 7 0\n2 a ip_up x 7 1\n", map[string]bool{"a": true}, map[string][]string{"a": {"x"}}},
		{"lines of the dead do not count", "1 a ip_up x 7 1\n2 b ip_up x 8 2\n", map[string]bool{"b": true}, map[string][]string{"b": {"x"}}},
		{"those of a former process do", "1 a ip_up x 7 1\n2 a ip_up y 9 2\n", map[string]bool{"a": true}, map[string][]string{"a": {"x", "y"}}},
		{"until the next one's hook says otherwise", "1 a ip_up x 7 1\n2 a ip_down x 9 0\n", map[string]bool{"a": true}, map[string][]string{"a": nil}},
		{"two holders show", "1 a ip_up x 7 1\n2 b ip_up x 8 2\n", map[string]bool{"a": true, "b": true}, map[string][]string{"a": {"x"}, "b": {"x"}}},
	}
	for _, tt := range tests {
		lines, err := parseTrace(tt.trace)
		if err != nil {
			t.Fatal(err)
		}
		if got := holdings(lines, tt.runs); !maps.EqualFunc(got, tt.want, slices.Equal) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestTakeover(t *testing.T) {
	lines, _ := parseTrace("1 b ip_up x 8 1\n5 a ip_up x 7 1\n6 b ip_up y 8 2\n7 b ip_down x 8 2\n8 b ip_up x 8 3\n9 c ip_up x 9 4\n")
	if l, ok := takeover(lines, "x", "a", 4); !ok || l.at != 8 || l.node != "b" {
		t.Errorf("got %+v, %v", l, ok)
	}
	if l, ok := takeover(lines, "x", "a", 10); ok {
		t.Errorf("a takeover from the past: %+v", l)
	}
}

func FuzzParseTrace(f *testing.F) {
	f.Add("10 flip ip_up 192.168.0.2 7 22\n11 flip1")
	f.Fuzz(func(t *testing.T, data string) {
		lines, err := parseTrace(data)
		if err == nil && len(lines) != strings.Count(data, "\n") {
			t.Errorf("%d lines of %q", len(lines), data)
		}
	})
}

func TestDemoConfig(t *testing.T) {
	if got := demoConfig(samplePorts, false); string(got) != string(deploy.ReadmeSample) {
		t.Errorf("with its own ports and timing it is not the sample:\n%s", got)
	}
	for _, lan := range []bool{false, true} {
		f, err := config.Parse("flip.json", demoConfig([]int{41, 42, 43}, lan), config.Overrides{})
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range demoNodes {
			if got, want := f.Spec.Servers[fsm.MemberID(n)].Addr, "127.0.0.1:"+strconv.Itoa(41+i); got != want {
				t.Errorf("%s at %s, want %s", n, got, want)
			}
		}
		if (f.Spec.Timing.Preset == "lan") != lan {
			t.Errorf("lan %v: timing %+v", lan, f.Spec.Timing)
		}
	}
}

func TestDemoPortsAvoidWhatIsInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = u.Close() }()
	tcp, udp := l.Addr().(*net.TCPAddr).Port, u.LocalAddr().(*net.UDPAddr).Port
	if free([]int{tcp}) || free([]int{udp}) {
		t.Error("a port in use passes for free")
	}
	ports, _, err := demoPorts()
	if err != nil || len(ports) != 3 || slices.Contains(ports, tcp) || len(slices.Compact(slices.Clone(ports))) != 3 {
		t.Errorf("ports %v, %v", ports, err)
	}
}

func TestPermute(t *testing.T) {
	app := (&App{}).cli()
	tests := [][2]string{
		{"flip", "flip"},
		{"flip assign ip --json", "flip assign --json -- ip"},
		{"flip assign ip --dir d --json", "flip assign --dir d --json -- ip"},
		{"flip assign ip --dir=d", "flip assign --dir=d -- ip"},
		{"flip --dir d assign ip --json", "flip --dir d assign --json -- ip"},
		{"flip assign -- --json", "flip assign -- --json"},
		{"flip assign ip --dir", "flip assign --dir -- ip"},
		{"flip nonsense ip --json", "flip nonsense ip --json"},
		{"flip status --check", "flip status --check"},
	}
	for _, tt := range tests {
		if got := strings.Join(permute(app, strings.Fields(tt[0])), " "); got != tt[1] {
			t.Errorf("%q became %q, want %q", tt[0], got, tt[1])
		}
	}
}

func TestSpoken(t *testing.T) {
	for ms, want := range map[int64]string{0: "0 ms", 999: "999 ms", 1000: "1 s", 1480: "1.5 s", 61_000: "1 min 1 s", 3_660_000: "1 h 1 min", 90_061_000: "1 d 1 h"} {
		if got := spoken(ms); got != want {
			t.Errorf("%d: %q, want %q", ms, got, want)
		}
	}
}

func TestTableIsColouredByTheLine(t *testing.T) {
	tab := newTable("A", "B")
	tab.add(red, "long\nname", "x")
	tab.add(plain, "y", "")
	var b strings.Builder
	tab.write(&b, true)
	if want := "\x1b[1mA          B\x1b[0m\n\x1b[31mlong name  x\x1b[0m\ny\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	b.Reset()
	tab.write(&b, false)
	if strings.Contains(b.String(), "\x1b") {
		t.Errorf("colour for no terminal: %q", b.String())
	}
}
