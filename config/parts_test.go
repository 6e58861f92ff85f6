package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

// slowDistance is the definition of the distance, without a table.
func slowDistance(a, b []rune) int {
	switch {
	case len(a) == 0:
		return len(b)
	case len(b) == 0:
		return len(a)
	}
	i, j := len(a)-1, len(b)-1
	differ := 1
	if a[i] == b[j] {
		differ = 0
	}
	best := min(slowDistance(a[:i], b)+1, slowDistance(a, b[:j])+1, slowDistance(a[:i], b[:j])+differ)
	if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
		best = min(best, slowDistance(a[:i-1], b[:j-1])+1)
	}
	return best
}

func TestDistance(t *testing.T) {
	if d := distance("prot", "port"); d != 1 {
		t.Errorf("two letters swapped count %d", d)
	}
	word := rapid.StringOfN(rapid.SampledFrom([]rune("abé")), 0, 6, -1)
	rapid.Check(t, func(rt *rapid.T) {
		a, b := word.Draw(rt, "a"), word.Draw(rt, "b")
		if got, want := distance(a, b), slowDistance([]rune(a), []rune(b)); got != want {
			rt.Errorf("from %q to %q: %d, want %d", a, b, got, want)
		}
	})
}

func TestNearest(t *testing.T) {
	for _, test := range []struct{ word, want string }{
		{"sytsem", "system"},
		{"systems", "system"},
		{"CONFIG", "config"},
		{"warn", "warning"},
		{"conf", "config"},
		{"xyzzy", ""},
		{"", ""},
	} {
		if got := nearest(test.word, []string{"config", "system", "warning"}); got != test.want {
			t.Errorf("%q: got %q, want %q", test.word, got, test.want)
		}
	}
}

// jsonValue draws what encoding/json can hold.
func jsonValue(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.IntRange(-9, 9).AsAny(), rapid.StringN(0, 4, -1).AsAny(),
	}
	if depth > 0 {
		leaves = append(leaves,
			rapid.SliceOfN(jsonValue(depth-1), 0, 3).AsAny(),
			rapid.MapOfN(rapid.StringN(0, 2, -1), jsonValue(depth-1), 0, 3).AsAny())
	}
	return rapid.OneOf(leaves...)
}

// TestMergeAgainstMaps: the merge of two configs is what maps and encoding/json
// make of them, which sort keys too.
func TestMergeAgainstMaps(t *testing.T) {
	object := rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "é", "<", "\n", "c d"}), jsonValue(2), 0, 4)
	rapid.Check(t, func(rt *rapid.T) {
		shared, own := object.Draw(rt, "shared"), object.Draw(rt, "own")
		merged := maps.Clone(shared)
		if merged == nil {
			merged = map[string]any{}
		}
		maps.Copy(merged, own)
		if got, want := merge(tree(rt, shared), tree(rt, own)), encoded(rt, merged); !bytes.Equal(got, want) {
			rt.Errorf("got %s, want %s", got, want)
		}
	})
}

func encoded(rt *rapid.T, v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		rt.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func tree(rt *rapid.T, v any) *value {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		rt.Fatal(err)
	}
	p := &parser{lines: newLines(data)}
	root := p.read(data)
	if root == nil {
		rt.Fatalf("%s: %v", data, p.errs)
	}
	return root
}

func testSpec() fsm.Spec {
	lan, _ := Preset("lan")
	return fsm.Spec{
		Timing: lan, Quorum: 2, RemoveOnFailure: true,
		Servers: map[fsm.MemberID]fsm.Server{
			"a": {Name: "a", Addr: "10.0.0.1:7000", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"s"}},
			"b": {Name: "b", Addr: "10.0.0.2:7000", Role: fsm.RoleArbiter},
		},
		Systems: map[fsm.SystemID]fsm.System{"s": {
			Name: "s", Split: fsm.Shard, Guarantee: fsm.AtLeastOne, Action: fsm.ActionHooks, Alive: "up", Down: "down",
			Config: []byte(`{"x":1}`), Items: []fsm.Item{{ID: "i"}}, StartTimeout: time.Second, StopTimeout: time.Second, CleanOnStart: true,
		}},
	}
}

func TestDiff(t *testing.T) {
	server := func(id fsm.MemberID, edit func(*fsm.Server)) func(*fsm.Spec) {
		return func(s *fsm.Spec) { v := s.Servers[id]; edit(&v); s.Servers[id] = v }
	}
	system := func(edit func(*fsm.System)) func(*fsm.Spec) {
		return func(s *fsm.Spec) { v := s.Systems["s"]; edit(&v); s.Systems["s"] = v }
	}
	many := make([]fsm.Item, 15)
	for i := range many {
		many[i].ID = fsm.ItemID(rune('a' + i))
	}
	for _, test := range []struct {
		want string
		edit func(*fsm.Spec)
	}{
		{"", func(s *fsm.Spec) { s.Version = 7 }},
		{"timing: lan -> file|lease: 300ms -> 1s", func(s *fsm.Spec) { s.Timing.Preset, s.Timing.Lease = "file", time.Second }},
		{"heartbeat: 50ms -> 1s", func(s *fsm.Spec) { s.Timing.Heartbeat = time.Second }},
		{"raft heartbeat: 100ms -> 1s", func(s *fsm.Spec) { s.Timing.RaftHeartbeat = time.Second }},
		{"raft election: 100ms -> 1s", func(s *fsm.Spec) { s.Timing.RaftElection = time.Second }},
		{"raft leader lease: 50ms -> 1s", func(s *fsm.Spec) { s.Timing.RaftLease = time.Second }},
		{"quorum: 2 -> 3", func(s *fsm.Spec) { s.Quorum = 3 }},
		{"remove_on_failure: true -> false", func(s *fsm.Spec) { s.RemoveOnFailure = false }},
		{"server c: added, voter at x:1, serves s", func(s *fsm.Spec) {
			s.Servers["c"] = fsm.Server{Name: "c", Addr: "x:1", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"s"}}
		}},
		{"server b: removed", func(s *fsm.Spec) { delete(s.Servers, "b") }},
		{"server a: address: 10.0.0.1:7000 -> x:1", server("a", func(v *fsm.Server) { v.Addr = "x:1" })},
		{"server a: to be removed: no -> yes", server("a", func(v *fsm.Server) { v.Removing = true })},
		{"server a: role: voter -> arbiter", server("a", func(v *fsm.Server) { v.Role = fsm.RoleArbiter })},
		{"server a: priority: - -> 0", server("a", func(v *fsm.Server) { v.HasPriority = true })},
		{"server a: systems: added t|server a: systems: removed s", server("a", func(v *fsm.Server) { v.Systems = []fsm.SystemID{"t"} })},
		{"system t: added, shard, at-most-one, 0 items", func(s *fsm.Spec) {
			s.Systems["t"] = fsm.System{Name: "t", Split: fsm.Shard, Guarantee: fsm.AtMostOne}
		}},
		{"system s: removed, with 1 item", func(s *fsm.Spec) { delete(s.Systems, "s") }},
		{"system s: type: shard -> choose_one", system(func(v *fsm.System) { v.Split = fsm.ChooseOne })},
		{"system s: guarantee: at-least-one -> at-most-one", system(func(v *fsm.System) { v.Guarantee = fsm.AtMostOne })},
		{"system s: action: hooks -> unknown", system(func(v *fsm.System) { v.Action = 99 })},
		{"system s: alive: up -> none", system(func(v *fsm.System) { v.Alive = "" })},
		{"system s: down: down -> d", system(func(v *fsm.System) { v.Down = "d" })},
		{"system s: config.x: 1 -> 2|system s: config.y: none -> true", system(func(v *fsm.System) { v.Config = []byte(`{"x":2,"y":true}`) })},
		{`system s: config: {"x":1} -> none`, system(func(v *fsm.System) { v.Config = nil })},
		{"system s: start_timeout: 1s -> 1m", system(func(v *fsm.System) { v.StartTimeout = time.Minute })},
		{"system s: stop_timeout: 1s -> 1h", system(func(v *fsm.System) { v.StopTimeout = time.Hour })},
		{"system s: delay: 0s -> 500ms", system(func(v *fsm.System) { v.Delay = 500 * time.Millisecond })},
		{"system s: clean_on_start: true -> false", system(func(v *fsm.System) { v.CleanOnStart = false })},
		{"system s: data: added a, b, c, d, e, f, g, h, j, k and 4 more", system(func(v *fsm.System) { v.Items = many })},
		{"system s: data: removed i", system(func(v *fsm.System) { v.Items = nil })},
		{"server a: weight: 1 -> 2", server("a", func(v *fsm.Server) { v.Weight = 2 })},
		{"", server("a", func(v *fsm.Server) { v.Weight = 1 })},
		{"server a: capacity: - -> 9", server("a", func(v *fsm.Server) { v.Capacity = 9 })},
		{"server a: zone: none -> z", server("a", func(v *fsm.Server) { v.Zone = "z" })},
		{"server a: tags: none -> disk=ssd, x=y", server("a", func(v *fsm.Server) { v.Tags = []fsm.Tag{{Name: "disk", Value: "ssd"}, {Name: "x", Value: "y"}} })},
		{"system s: replicas: 1 -> 3", system(func(v *fsm.System) { v.Replicas = 3 })},
		{"system s: partitions: none -> 1 by fnv32a|system s: data: added 0|system s: data: removed i", system(func(v *fsm.System) {
			v.Partitions, v.Items = &fsm.Partitions{Count: 1, Hash: fsm.FNV32a}, []fsm.Item{{ID: "0"}}
		})},
		{"system s: select: none -> disk=nvme|ssd and gpu", system(func(v *fsm.System) {
			v.Select = []fsm.Match{{Tag: "disk", Values: []string{"nvme", "ssd"}}, {Tag: "gpu"}}
		})},
		{"system s: select: none -> a or b", system(func(v *fsm.System) { v.Select, v.SelectAny = []fsm.Match{{Tag: "a"}, {Tag: "b"}}, true })},
		{"system s: with: added t", system(func(v *fsm.System) { v.With = []fsm.SystemID{"t"} })},
		{"system s: apart: added t, u", system(func(v *fsm.System) { v.Apart = []fsm.SystemID{"t", "u"} })},
		{"system s: failback: auto -> manual", system(func(v *fsm.System) { v.Failback = fsm.NeverFailback })},
		{"system s: failback: auto -> 1m", system(func(v *fsm.System) { v.Failback = time.Minute })},
		{"system s: mature: 0s -> 5s", system(func(v *fsm.System) { v.Mature = 5 * time.Second })},
		{"system s: round: none -> 7 every 1s", system(func(v *fsm.System) { v.RoundMoves, v.RoundEvery = 7, time.Second })},
		{"system s: brake: on -> off", system(func(v *fsm.System) { v.NoBrake = true })},
		{"system s: on_timeout: keep -> kill", system(func(v *fsm.System) { v.KillOnTimeout = true })},
		{"system s: weight of i: 1 -> 3", system(func(v *fsm.System) { v.Items = []fsm.Item{{ID: "i", Weight: 3}} })},
		{"system s: i prefers: none -> b, a", system(func(v *fsm.System) { v.Items = []fsm.Item{{ID: "i", Prefer: []fsm.MemberID{"b", "a"}}} })},
		{"system s: takeover_after: none -> never", system(func(v *fsm.System) { v.TakeoverAfter = fsm.NeverTakeOver })},
		{"system s: takeover_after: none -> 10s", system(func(v *fsm.System) { v.TakeoverAfter = 10 * time.Second })},
		{"system s: fence: none -> f|system s: fence_timeout: none -> 30s", system(func(v *fsm.System) { v.Fence, v.FenceTimeout = "f", 30*time.Second })},
		{"system s: interface of i: none -> eth1", system(func(v *fsm.System) { v.Items = []fsm.Item{{ID: "i", Interface: "eth1"}} })},
		{"system s: addresses of i: none -> x", system(func(v *fsm.System) { v.Items = []fsm.Item{{ID: "i", Addrs: []string{"x"}}} })},
	} {
		after := testSpec()
		test.edit(&after)
		if got := strings.Join(Diff(testSpec(), after), "|"); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// TestDiffOfAddresses: what an ip system can be told.
func TestDiffOfAddresses(t *testing.T) {
	before := testSpec()
	s := before.Systems["s"]
	s.Action, s.IP = fsm.ActionIP, &fsm.IP{}
	before.Systems["s"] = s
	for _, test := range []struct {
		want string
		ip   fsm.IP
	}{
		{"", fsm.IP{}},
		{"system s: interface: none -> eth1", fsm.IP{Interface: "eth1"}},
		{"system s: gate: on -> off", fsm.IP{NoGate: true}},
		{"system s: probe: on -> off", fsm.IP{NoProbe: true}},
		{"system s: track: none -> eth0, 0.0.0.0/0", fsm.IP{Track: []fsm.Track{{Interface: "eth0"}, {Route: "0.0.0.0/0"}}}},
		{"system s: notify: none -> arp-cache, 10.0.0.0/24 by eth0", fsm.IP{Notify: []fsm.Notify{{ARPCache: true}, {Hosts: "10.0.0.0/24", Interface: "eth0"}}}},
	} {
		after := testSpec()
		s.IP = &test.ip
		after.Systems["s"] = s
		if got := strings.Join(Diff(before, after), "|"); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// TestDiffSeesEveryField: a field that is added to the types and forgotten in
// Diff would be changed without a word.
func TestDiffSeesEveryField(t *testing.T) {
	for _, test := range []struct {
		of     any
		fields int
	}{
		{fsm.Spec{}, 6},
		{fsm.Timing{}, 6},
		{fsm.Server{}, 11},
		{fsm.System{}, 29},
		{fsm.Item{}, 5},
		{fsm.IP{}, 5},
		{fsm.Track{}, 2},
		{fsm.Notify{}, 3},
		{fsm.Tag{}, 2},
		{fsm.Match{}, 2},
		{fsm.Partitions{}, 2},
	} {
		if n := reflect.TypeOf(test.of).NumField(); n != test.fields {
			t.Errorf("%T has %d fields, Diff was written for %d: look whether it must show the new one", test.of, n, test.fields)
		}
	}
}

func TestVotersDigest(t *testing.T) {
	base := VotersDigest(testSpec())
	same := testSpec()
	same.Quorum, same.Version = 9, 9
	delete(same.Systems, "s")
	b := same.Servers["b"]
	b.Role, b.Priority, b.Systems = fsm.RoleVoter, 5, []fsm.SystemID{"s"}
	same.Servers["b"] = b
	if VotersDigest(same) != base {
		t.Error("the digest depends on more than names and addresses of voters")
	}
	same.Servers["z"] = fsm.Server{Name: "z", Addr: "10.0.0.9:7000", Role: fsm.RoleAgent, Systems: []fsm.SystemID{"s"}}
	if VotersDigest(same) != base {
		t.Error("an agent changes the digest of the voters")
	}
	for name, edit := range map[string]func(fsm.Spec){
		"role":    func(s fsm.Spec) { v := s.Servers["a"]; v.Role = fsm.RoleAgent; s.Servers["a"] = v },
		"address": func(s fsm.Spec) { v := s.Servers["a"]; v.Addr = "10.0.0.1:7001"; s.Servers["a"] = v },
		"name":    func(s fsm.Spec) { s.Servers["c"] = s.Servers["b"]; delete(s.Servers, "b") },
		"fewer":   func(s fsm.Spec) { delete(s.Servers, "b") },
		"shifted": func(s fsm.Spec) {
			v := s.Servers["a"]
			v.Addr = v.Addr[1:]
			delete(s.Servers, "a")
			s.Servers["a1"] = v // the same letters, split elsewhere
		},
	} {
		spec := testSpec()
		edit(spec)
		if VotersDigest(spec) == base {
			t.Errorf("%s: the digest is the same", name)
		}
	}
}

func TestDescribeHidesTheKey(t *testing.T) {
	file, err := Parse("f", bytes.Replace(sample(t), []byte(`"secret"`), []byte(`"hunter2"`), 1), Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	if text := Describe(file); strings.Contains(text, "hunter2") || !strings.Contains(text, "priority: lower is preferred; keepalived: higher") {
		t.Error(text)
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Minute: "1m", time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Second: "10s",
		time.Hour + time.Second: "1h0m1s", 20 * time.Minute: "20m", 1500 * time.Millisecond: "1.5s",
	} {
		if got := short(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}
