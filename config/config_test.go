package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

func sample(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/sample.json")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestSample: the sample of Flip's README gives exactly this, on whichever node.
func TestSample(t *testing.T) {
	file, err := Parse("flip.json", sample(t), Overrides{ID: "flip2", Hostname: "elsewhere"})
	if err != nil {
		t.Fatal(err)
	}
	node := Node{
		ID: "flip2", DataDir: "/var/lib/flip", Key: "secret", LogLevel: "info", Socket: "/run/flip/flip2.sock",
	}
	if file.Node != node {
		t.Errorf("got %+v\nwant %+v", file.Node, node)
	}
	spec := fsm.Spec{
		Timing: fsm.Timing{
			Preset: "file", Heartbeat: 250 * time.Millisecond, Lease: 1500 * time.Millisecond,
			RaftHeartbeat: 500 * time.Millisecond, RaftElection: 500 * time.Millisecond, RaftLease: 250 * time.Millisecond,
		},
		Quorum:          2,
		RemoveOnFailure: true,
		Servers: map[fsm.MemberID]fsm.Server{
			"flip":  {Name: "flip", Addr: "127.0.0.1:2200", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"ip"}},
			"flip1": {Name: "flip1", Addr: "127.0.0.1:2201", Role: fsm.RoleVoter, Priority: 1, HasPriority: true, Systems: []fsm.SystemID{"ip"}},
			"flip2": {Name: "flip2", Addr: "127.0.0.1:2202", Role: fsm.RoleArbiter},
		},
		Systems: map[fsm.SystemID]fsm.System{"ip": {
			Name: "ip", Split: fsm.Shard, Guarantee: fsm.AtLeastOne, Action: fsm.ActionHooks, Alive: "ip_up", Down: "ip_down",
			Config: []byte(`{"interface":"lo0"}`), Items: []fsm.Item{{ID: "192.168.0.1"}, {ID: "192.168.0.2"}},
			StartTimeout: time.Minute, StopTimeout: time.Minute, CleanOnStart: true,
		}},
	}
	if !reflect.DeepEqual(file.Spec, spec) {
		t.Errorf("got %+v\nwant %+v", file.Spec, spec)
	}
}

// addressSample has every key of an ip system.
func addressSample(t testing.TB) []byte { return textSample(t, "ip_everything") }

// placeSample has every key that says where items go.
func placeSample(t testing.TB) []byte { return textSample(t, "place_everything") }

func textSample(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(data), "-- flip.json --\n")
	text, _, _ = strings.Cut(text, "-- want --\n")
	return []byte(text)
}

// with puts text in front of the closing brace of the sample's top level, or of
// the object that opens with marker.
func with(t *testing.T, text, marker string) string {
	t.Helper()
	s := string(sample(t))
	i := strings.Index(s, marker)
	if i < 0 {
		t.Fatalf("no %s in the sample", marker)
	}
	i += len(marker)
	return s[:i] + text + s[i:]
}

// TestEveryKeyIsRead gives each key of the reference a value that no key takes:
// a key that is documented and not read would pass in silence.
func TestEveryKeyIsRead(t *testing.T) {
	markers := map[string]string{
		levelTop: "{", levelServer: `{"flip" : {`, levelCluster: `,"cluster" :` + "\n{", levelSystem: `{"ip":` + "\n{",
		levelItem: `"data" : [`,
	}
	for _, doc := range Reference() {
		cut := strings.LastIndex(doc.Key, ".") + 1
		level, name := doc.Key[:cut], doc.Key[cut:]
		member := `"` + name + `": [[1]],`
		switch level {
		case levelItem:
			member = `{"` + name + `": [[1]]},`
		case levelPartitions, levelRound:
			in := strings.TrimSuffix(strings.TrimPrefix(level, levelSystem), ".")
			level, member = levelSystem, `"`+in+`": {"`+name+`": [[1]]},`
		case levelTLS:
			level, member = levelTop, `"tls": {"`+name+`": [[1]]},`
		case levelTrack, levelNotify:
			list, _, _ := strings.Cut(strings.TrimPrefix(level, levelSystem), "[")
			level, member = levelSystem, `"`+list+`": [{"`+name+`": [[1]]}],`
		}
		text := with(t, member, markers[level])
		if strings.HasPrefix(doc.Meaning, "ip") || strings.Contains(doc.Key, "track[") || strings.Contains(doc.Key, "notify[") {
			text = strings.Replace(text, markers[levelSystem], markers[levelSystem]+`"action": "ip",`, 1)
		}
		if strings.HasPrefix(doc.Meaning, "client") {
			text = strings.Replace(text, markers[levelSystem], markers[levelSystem]+`"action": "client",`, 1)
		}
		if strings.HasPrefix(doc.Meaning, "at-most-one") {
			text = strings.Replace(text, markers[levelSystem], markers[levelSystem]+`"guarantee": "at-most-one",`, 1)
		}
		read := regexp.MustCompile(`\b` + name + `: (must be|is another name)`)
		_, err := Parse("f", []byte(text), Overrides{ID: "flip"})
		if err == nil || strings.Contains(err.Error(), "unknown key") || !read.MatchString(err.Error()) {
			t.Errorf("%s: %v", doc.Key, err)
		}
	}
}

// TestReference: each entry says all that a reader wants, and none is there twice.
func TestReference(t *testing.T) {
	seen := map[string]bool{}
	for _, doc := range Reference() {
		if doc.Key == "" || doc.Type == "" || doc.Meaning == "" || doc.Example == "" || seen[doc.Key] {
			t.Errorf("%+v", doc)
		}
		seen[doc.Key] = true
	}
	Reference()[0].Key = "changed"
	if Reference()[0].Key == "changed" {
		t.Error("a caller can change the reference")
	}
}

// TestTiming is DESIGN.md's table and the rules for Flip's own keys.
func TestTiming(t *testing.T) {
	ms := time.Millisecond
	for _, test := range []struct {
		text                          string
		heartbeat, lease, raft, third time.Duration
	}{
		{``, 50 * ms, 300 * ms, 100 * ms, 50 * ms},
		{`"timing": "lan",`, 50 * ms, 300 * ms, 100 * ms, 50 * ms},
		{`"timing": "fast",`, 10 * ms, 50 * ms, 50 * ms, 25 * ms},
		{`"timing": "wan",`, 500 * ms, 3000 * ms, 1000 * ms, 500 * ms},
		{`"gossip_interval": 1000, "ping_timeout": 1500,`, 250 * ms, 1500 * ms, 500 * ms, 250 * ms},
		{`"gossip_interval": 100, "ping_timeout": 1500,`, 100 * ms, 1500 * ms, 500 * ms, 250 * ms},
		{`"gossip_interval": 5, "ping_timeout": 30,`, 5 * ms, 30 * ms, 50 * ms, 25 * ms},
		{`"heartbeat_interval": "1s", "lease": "1m",`, time.Second, time.Minute, time.Second, 500 * ms},
		{`"ping_timeout": 150,`, 25 * ms, 150 * ms, 50 * ms, 25 * ms},
		{`"gossip_interval": 20,`, 20 * ms, 120 * ms, 50 * ms, 25 * ms},
		{`"gossip_interval": "10m",`, 10 * time.Minute, time.Hour, time.Second, 500 * ms},
	} {
		// The sample without its own keys of timing.
		s := string(sample(t))
		s = strings.Replace(s, `,"gossip_interval" : 1000`, "", 1)
		s = strings.Replace(s, `,"ping_timeout" : 1500`, "", 1)
		file, err := Parse("f", []byte(strings.Replace(s, "{", "{"+test.text, 1)), Overrides{})
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		got := file.Spec.Timing
		if got.Heartbeat != test.heartbeat || got.Lease != test.lease || got.RaftHeartbeat != test.raft ||
			got.RaftElection != test.raft || got.RaftLease != test.third {
			t.Errorf("%s: got %+v", test.text, got)
		}
	}
}

// TestQuorum is DESIGN.md's table: votes needed with 1 to 5 voters, and what may
// be asked for.
func TestQuorum(t *testing.T) {
	for _, test := range []struct{ voters, majority, most int }{{1, 1, 1}, {2, 2, 2}, {3, 2, 2}, {4, 3, 3}, {5, 3, 4}, {7, 4, 6}} {
		for asked := 0; asked <= test.most+1; asked++ {
			servers := make([]string, test.voters)
			for i := range servers {
				servers[i] = `"n` + string(rune('1'+i)) + `": {"ip": "10.0.0.1", "port": 700` + string(rune('1'+i)) + `}`
			}
			quorum := ""
			if asked > 0 {
				quorum = `"quorum": ` + string(rune('0'+asked)) + `,`
			}
			text := `{"id": "n1", "key": "k", ` + quorum + `"servers": {` + strings.Join(servers, ",") + `}, "cluster": {"system": {}}}`
			file, err := Parse("f", []byte(text), Overrides{})
			switch {
			case asked > test.most:
				if err == nil {
					t.Errorf("%d of %d voters was accepted", asked, test.voters)
				}
			case err != nil:
				t.Errorf("%d of %d voters: %v", asked, test.voters, err)
			case file.Spec.Quorum != max(asked, test.majority):
				t.Errorf("%d of %d voters: got %d", asked, test.voters, file.Spec.Quorum)
			case (asked > 0 && asked < test.majority) != slices.ContainsFunc(file.Notes, func(p Problem) bool { return p.Key == "quorum" }):
				t.Errorf("%d of %d voters: notes %v", asked, test.voters, file.Notes)
			}
		}
	}
}

// manyAddresses is the sample with n addresses instead of its data.
func manyAddresses(t testing.TB, n int) []byte {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%q", netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(i%250 + 1)}), 16))
	}
	text := string(sample(t))
	text = strings.Replace(text, `"alive" : "ip_up"`, `"action": "ip"`, 1)
	text = strings.Replace(text, `,"down" : "ip_down"`, "", 1)
	text = strings.Replace(text, `,"config" : {"interface" : "lo0"}`, "", 1)
	return []byte(strings.Replace(text, `["192.168.0.2","192.168.0.1"]`, "["+strings.Join(list, ",\n")+"]", 1))
}

// TestManyAddresses: each comes out in the one order and form that the State
// has, and the State takes them.
func TestManyAddresses(t *testing.T) {
	const n = 10_000
	file, err := Parse("f", manyAddresses(t, n), Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	items := file.Spec.Systems["ip"].Items
	if len(items) != n || !slices.IsSortedFunc(items, func(a, b fsm.Item) int { return strings.Compare(string(a.ID), string(b.ID)) }) {
		t.Fatalf("%d items", len(items))
	}
	for _, item := range items {
		if len(item.Addrs) != 1 || item.Addrs[0] != string(item.ID) {
			t.Fatalf("%+v", item)
		}
	}
	next, res, err := fsm.New().Apply(1, fsm.Encode(fsm.SetSpec{Cluster: "c", Spec: file.Spec}))
	if err != nil || !res.Applied || fsm.Check(next) != nil {
		t.Fatalf("%+v, %v, %v", res, err, fsm.Check(next))
	}
}

func BenchmarkManyAddresses(b *testing.B) {
	data := manyAddresses(b, 10_000)
	for b.Loop() {
		if _, err := Parse("f", data, Overrides{}); err != nil {
			b.Fatal(err)
		}
	}
}

// sound checks what must hold of any answer of Parse.
func sound(t interface {
	Helper()
	Errorf(string, ...any)
}, data []byte, file *File, err error,
) {
	t.Helper()
	problems := Problems{}
	if err != nil && (!errors.As(err, &problems) || len(problems) == 0 || file != nil) {
		t.Errorf("%T with %d problems and %v", err, len(problems), file)
	}
	if file != nil {
		problems = file.Notes
		if Describe(file) == "" || len(file.Spec.Servers) == 0 || file.Spec.Servers[file.Node.ID].Name != file.Node.ID {
			t.Errorf("%+v", file)
		}
		if d := Diff(file.Spec, file.Spec); len(d) > 0 {
			t.Errorf("it differs from itself: %v", d)
		}
		next, res, err := fsm.New().Apply(1, fsm.Encode(fsm.SetSpec{Cluster: "c", Spec: file.Spec}))
		if err != nil || !res.Applied || fsm.Check(next) != nil {
			t.Errorf("the State does not take it: %+v, %v, %v", res, err, fsm.Check(next))
		}
		tm := file.Spec.Timing
		if tm.Heartbeat <= 0 || tm.Lease < 3*tm.Heartbeat || tm.RaftLease < 5*time.Millisecond || tm.RaftHeartbeat < tm.RaftLease {
			t.Errorf("timing %+v", tm)
		}
	}
	lines := strings.Split(string(data), "\n")
	for _, p := range problems {
		if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len(lines[p.Line-1])+1 || p.What == "" {
			t.Errorf("a problem without a place: %+v", p)
		}
	}
}

// TestMutations breaks the sample in every way that a slip of a hand does; Parse
// never panics, and what it says has a place in the file.
func TestMutations(t *testing.T) {
	originals := [][]byte{sample(t), addressSample(t), placeSample(t)}
	pieces := []string{"{", "}", "[", "]", ",", ":", `"`, "//", "\n", "\\", "null", "1e999", "-", "\x00", "\xff", "é", `"ip"`, "0.5", "true", "{}", "[]"}
	rapid.Check(t, func(rt *rapid.T) {
		data := slices.Clone(rapid.SampledFrom(originals).Draw(rt, "file"))
		for range rapid.IntRange(1, 4).Draw(rt, "edits") {
			at := rapid.IntRange(0, len(data)).Draw(rt, "at")
			end := min(len(data), at+rapid.IntRange(0, 12).Draw(rt, "cut"))
			piece := rapid.SampledFrom(pieces).Draw(rt, "piece")
			data = slices.Concat(data[:at], []byte(piece), data[end:])
		}
		file, err := Parse("f", data, Overrides{Hostname: "flip"})
		sound(rt, data, file, err)
	})
}

// TestValueMutations puts every kind of value in the place of every value of the
// sample: the syntax is right, so that all the checks behind it are reached.
func TestValueMutations(t *testing.T) {
	mutateValues(t, sample(t), "flip")
	mutateValues(t, addressSample(t), "n1")
	mutateValues(t, placeSample(t), "a")
}

func mutateValues(t *testing.T, original []byte, id string) {
	p := &parser{lines: newLines(original)}
	root := p.read(original)
	var places []*value
	var walk func(*value)
	walk = func(v *value) {
		places = append(places, v)
		for _, m := range v.members {
			walk(m.value)
		}
		for _, item := range v.list {
			walk(item)
		}
	}
	walk(root)
	for _, v := range places {
		for _, text := range []string{"null", "true", "-1", "1e400", "1.5", `""`, `"x"`, `"\u0000"`, "[]", `["a","a"]`, "{}", `{"a":{}}`, `{"id":"a"}`} {
			was := *v
			*v = *p.read([]byte(text))
			v.at = was.at
			again := &parser{file: "f", lines: p.lines}
			if root.kind == kindObject {
				again.interpret(root, Overrides{ID: id})
			}
			for _, problem := range again.errs {
				if problem.Line < 1 || problem.What == "" {
					t.Errorf("%+v", problem)
				}
			}
			*v = was
		}
	}
	if len(places) < 30 {
		t.Errorf("%d places", len(places))
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample(f))
	f.Add(addressSample(f))
	f.Add(placeSample(f))
	f.Add([]byte(`{"id": "a", "key": "k", "servers": {"a": {"ip": "::1", "port": 1}}, "cluster": {"system": {}}} // end`))
	f.Add([]byte(`{"a": [1, {"b": "c\u00e9"}], "a": null,}`))
	f.Add([]byte("\xef\xbb\xbf{'a': #"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("f", data, Overrides{Hostname: "flip"})
		sound(t, data, file, err)
	})
}
