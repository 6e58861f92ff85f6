package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

func seedAt(version fsm.Index, cluster string, names ...fsm.MemberID) seed {
	s := seed{cluster: cluster, spec: fsm.Spec{
		Version: version, Quorum: 2, Servers: map[fsm.MemberID]fsm.Server{},
		Systems: map[fsm.SystemID]fsm.System{"s": {Name: "s", Split: fsm.Shard, Guarantee: fsm.AtLeastOne, Action: fsm.ActionHooks, Alive: "up", Down: "down"}},
	}}
	for _, n := range names {
		s.spec.Servers[n] = fsm.Server{Name: n, Addr: "127.0.0.1:1", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"s"}}
	}
	return s
}

func TestSeedIsReadAsWritten(t *testing.T) {
	dir := t.TempDir()
	if s, err := readSeed(dir); s != nil || err != nil {
		t.Fatalf("nothing: %v, %v", s, err)
	}
	for _, version := range []fsm.Index{7, 9} {
		if err := seedAt(version, "c1", "n1", "n4").write(dir); err != nil {
			t.Fatal(err)
		}
		s, err := readSeed(dir)
		if err != nil || s.cluster != "c1" || s.spec.Version != version || len(s.spec.Servers) != 2 || s.spec.Systems["s"].Alive != "up" {
			t.Errorf("%+v, %v", s, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	for name, data := range map[string][]byte{
		"empty": {}, "garbage": []byte("{}"), "another command": fsm.Encode(fsm.Probe{}), "cut off": seedAt(7, "c1", "n1").encode()[:20],
		"no servers": seedAt(7, "c1").encode(), "no cluster": seedAt(7, "", "n1").encode(),
	} {
		if err := os.WriteFile(filepath.Join(dir, seedFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
		var h hinted
		if s, err := readSeed(dir); err == nil || s != nil || !errors.As(err, &h) || h.hint == "" {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

func FuzzSeed(f *testing.F) {
	f.Add(seedAt(7, "c1", "n1", "n4").encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeSeed(data)
		if err != nil {
			return
		}
		if again, err := decodeSeed(s.encode()); err != nil || again.cluster != s.cluster {
			t.Errorf("%v, %v", again, err)
		}
	})
}

func TestJoinAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "10.0.0.1:2200": "10.0.0.1:2200", "a:1, [::1]:2": "a:1 [::1]:2",
		"10.0.0.1": "error", ":2200": "error", "a:1,,b:2": "error", "a:": "error",
	} {
		got, err := joinAddresses(text)
		if words := strings.Join(got, " "); (err != nil) != (want == "error") || err == nil && words != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// asked is a joiner whose members answer what a test says, a round after the other;
// the last answers stay.
type asked struct {
	*joiner
	rounds []map[string]any // by address: an api.Joined or an error
	said   []string
	saved  []seed
	asks   []string
	left   int
}

func newAsked(j joiner, rounds ...map[string]any) *asked {
	a := &asked{joiner: &j, rounds: rounds}
	a.log, a.every = zerolog.Nop(), time.Nanosecond
	a.say = func(words, hint string) { a.said = append(a.said, words+" | "+hint) }
	a.save = func(s seed) error { a.saved = append(a.saved, s); return nil }
	a.wait = func(context.Context) (func(), error) { return func() { a.left++ }, nil }
	if a.mine.Name == "" {
		a.mine.Name = "n4"
	}
	return a
}

// play runs the joiner; a round of nobody at all ends it.
func (a *asked) play(empty bool) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	n := 0
	for n < len(a.rounds) {
		now := a.rounds[n]
		a.ask = func(_ context.Context, addr string, _ api.Join) (api.Joined, error) {
			switch got := now[addr].(type) {
			case api.Joined:
				return got, nil
			case error:
				return api.Joined{}, got
			default:
				return api.Joined{}, fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
			}
		}
		r := a.round(ctx)
		for _, one := range r {
			a.asks = append(a.asks, one.addr)
		}
		if err := a.judge(r, empty); err != nil || a.seed != nil {
			return err
		}
		n++
	}
	return nil
}

func added(version fsm.Index, cluster string) api.Joined {
	return api.Joined{Cluster: cluster, Index: version + 1, Named: true, Spec: seedAt(version, cluster, "n1", "n4").encode()}
}

func unadded(index fsm.Index, cluster string, others ...string) api.Joined {
	return api.Joined{Cluster: cluster, Index: index, Others: others}
}

func TestJoinerWaitsUntilItIsAdded(t *testing.T) {
	taken := &api.Error{Code: api.CodeTaken, Message: "n4 is taken", Hint: "another name"}
	a := newAsked(joiner{given: []string{"a:1", "b:2"}},
		map[string]any{},
		map[string]any{"a:1": &api.Error{Code: api.CodeNotFound}},
		map[string]any{"a:1": unadded(0, "")},
		map[string]any{"a:1": unadded(5, "c1", "a:1", "c:3")},
		map[string]any{"a:1": unadded(6, "c1", "a:1", "c:3")}, // the same words: said once
		map[string]any{"b:2": taken, "a:1": taken},
		map[string]any{"a:1": api.Joined{Cluster: "c1", Index: 7, Removing: true}},
		map[string]any{"a:1": added(8, "c1"), "b:2": unadded(20, "c1")}, // a is behind: n4 was removed again
		map[string]any{"c:3": added(21, "c1")},
	)
	if err := a.play(true); err != nil || a.seed == nil || a.seed.spec.Version != 21 || len(a.saved) != 1 {
		t.Fatalf("%v, seed %+v, saved %d", err, a.seed, len(a.saved))
	}
	want := []string{
		"waiting: no member answers: a:1 refuses TCP connections; b:2 refuses TCP connections | is flip running there? firewall? flip needs TCP and UDP on its port",
		"waiting: no member answers: a:1 runs an older flip, which cannot do that: upgrade it; b:2 refuses TCP connections | is flip running there? firewall? flip needs TCP and UDP on its port",
		"waiting: the cluster at a:1 is not founded yet | `flip status` there says what it waits for",
		"waiting for `flip member add n4 HOST:PORT` on any member | cluster c1; HOST:PORT is the address of this machine at which the others shall reach it",
		"waiting: n4 is taken | another name",
		"waiting: a member n4 is being removed from cluster c1 | `flip member show n4` on a member says what that waits for; then: flip member add n4 HOST:PORT",
		"waiting for `flip member add n4 HOST:PORT` on any member | cluster c1; HOST:PORT is the address of this machine at which the others shall reach it",
	}
	if !slices.Equal(a.said, want) {
		t.Errorf("said\n%s\nwant\n%s", strings.Join(a.said, "\n"), strings.Join(want, "\n"))
	}
	if !slices.Contains(a.asks, "c:3") {
		t.Errorf("asked %v only", a.asks)
	}
}

func TestJoinerIsRefused(t *testing.T) {
	taken := map[string]any{"a:1": &api.Error{Code: api.CodeTaken, Message: "n4 is taken", Hint: "another name"}}
	old := seedAt(7, "c1", "n1", "n4")
	for name, tt := range map[string]struct {
		j      joiner
		empty  bool
		rounds []map[string]any
		says   string
	}{
		"another key":       {joiner{}, true, []map[string]any{{"a:1": fmt.Errorf("ask: %w", secure.ErrOtherKey)}}, "a:1 has another key"},
		"another cluster":   {joiner{mine: api.Join{Name: "n4", Cluster: "c1"}, seed: &old}, false, []map[string]any{{"a:1": unadded(5, "c2")}}, "belongs to cluster c1, and at a:1 is cluster c2"},
		"taken for long":    {joiner{}, true, slices.Repeat([]map[string]any{taken}, takenFor), "n4 is taken"},
		"taken, with data":  {joiner{seed: &old}, false, []map[string]any{taken}, "n4 is taken"},
		"a newer Spec":      {joiner{}, true, []map[string]any{{"a:1": api.Joined{Cluster: "c1", Index: 3, Named: true, Spec: []byte{0x7f}}}}, "decode what the cluster"},
		"named, and no key": {joiner{}, true, []map[string]any{{"a:1": api.Joined{Cluster: "c1", Index: 3, Named: true}}}, "decode what the cluster"},
	} {
		tt.j.given = []string{"a:1"}
		a := newAsked(tt.j, tt.rounds...)
		err := a.play(tt.empty)
		var h hinted
		if err == nil || !strings.Contains(err.Error(), tt.says) || !errors.As(err, &h) || h.hint == "" || len(a.saved) > 0 {
			t.Errorf("%s: %v, saved %v", name, err, a.saved)
		}
	}
	// One short of the limit it goes on, and a round without it begins anew.
	a := newAsked(joiner{given: []string{"a:1"}}, slices.Concat(slices.Repeat([]map[string]any{taken}, takenFor-1),
		[]map[string]any{{"a:1": unadded(3, "c1")}}, slices.Repeat([]map[string]any{taken}, takenFor-1))...)
	if err := a.play(true); err != nil {
		t.Error(err)
	}
}

func TestJoinerWithASeed(t *testing.T) {
	for name, tt := range map[string]struct {
		empty bool
		got   map[string]any
		want  fsm.Index // of the seed after one round; 0: it is dropped
	}{
		"nobody answers":                 {true, map[string]any{}, 7},
		"nobody answers, with data":      {false, map[string]any{}, 7},
		"a newer one":                    {true, map[string]any{"a:1": added(9, "c1")}, 9},
		"a newer one, with data":         {false, map[string]any{"a:1": added(9, "c1")}, 9},
		"the same":                       {true, map[string]any{"a:1": added(7, "c1")}, 7},
		"an older one":                   {true, map[string]any{"a:1": added(5, "c1")}, 7},
		"removed again":                  {true, map[string]any{"a:1": unadded(9, "c1")}, 0},
		"removed, with data":             {false, map[string]any{"a:1": unadded(9, "c1")}, 7}, // the log says so
		"not read so far":                {true, map[string]any{"a:1": unadded(6, "c1")}, 7},
		"founded anew":                   {true, map[string]any{"a:1": added(3, "c2")}, 3},
		"another cluster, without it":    {true, map[string]any{"a:1": unadded(3, "c2")}, 0},
		"another key":                    {true, map[string]any{"a:1": secure.ErrOtherKey}, 7},
		"a member that is not yet there": {true, map[string]any{"a:1": unadded(0, "")}, 0},
	} {
		s := seedAt(7, "c1", "n1", "n4")
		a := newAsked(joiner{given: []string{"a:1"}, seed: &s}, tt.got)
		err := a.play(tt.empty)
		var got fsm.Index
		if a.seed != nil {
			got = a.seed.spec.Version
		}
		if err != nil || got != tt.want || (len(a.saved) > 0) != (tt.want != 0 && tt.want != 7) {
			t.Errorf("%s: seed at %d, want %d (%v, saved %d)", name, got, tt.want, err, len(a.saved))
		}
	}
}

func TestJoinerStops(t *testing.T) {
	a := newAsked(joiner{given: []string{"a:1"}})
	a.every = time.Hour
	ctx, cancel := context.WithCancelCause(context.Background())
	a.ask = func(context.Context, string, api.Join) (api.Joined, error) { return unadded(5, "c1"), nil }
	a.wait = func(context.Context) (func(), error) {
		cancel(errSignal)
		return func() { a.left++ }, nil
	}
	if err := a.run(ctx, true); !errors.Is(err, errNotJoined) || !errors.Is(err, errSignal) || a.left != 1 {
		t.Errorf("%v, left %d", err, a.left)
	}
}

func TestIsGone(t *testing.T) {
	gone := api.Joined{Cluster: "c1", Index: 9, Leader: "n1"}
	if !isGone(gone, "c1", "c1", 9) || !isGone(gone, "c1", "", 8) {
		t.Error("it is")
	}
	for name, change := range map[string]func(*api.Joined){
		"named":           func(j *api.Joined) { j.Named = true },
		"being removed":   func(j *api.Joined) { j.Removing = true },
		"another cluster": func(j *api.Joined) { j.Cluster = "c2" },
		"none":            func(j *api.Joined) { j.Cluster = "" },
		"behind":          func(j *api.Joined) { j.Index = 8 },
		"without leader":  func(j *api.Joined) { j.Leader = "" },
	} {
		got := gone
		change(&got)
		if isGone(got, "c1", "c1", 9) {
			t.Errorf("%s proves nothing", name)
		}
	}
}

func TestMembersAreNoDifferenceToAFile(t *testing.T) {
	file, agreed := seedAt(0, "", "n1", "n2", "n3").spec, seedAt(9, "c1", "n1", "n3", "n4").spec
	agreed.Quorum = 1
	if got := withMembersOf(agreed, file); len(got.Servers) != 3 || got.Quorum != 1 || got.Servers["n4"].Name == "" {
		t.Errorf("%+v", got)
	}
	file = seedAt(0, "", "n1", "n3", "n4").spec
	if got := withMembersOf(agreed, file); got.Quorum != 2 {
		t.Error("with the same members the quorum counts")
	}
	n1 := file.Servers["n1"]
	n1.Addr = "127.0.0.1:9"
	file.Servers["n1"] = n1
	if got := withMembersOf(agreed, file); got.Servers["n1"].Addr != n1.Addr {
		t.Error("another address is a difference")
	}
}

func TestProgress(t *testing.T) {
	var lines, terminal, quiet strings.Builder
	long := strings.Repeat("x", 200)
	for p, w := range map[*progress]*strings.Builder{{w: &lines}: &lines, {w: &terminal, rewrites: true}: &terminal, {w: &quiet, quiet: true}: &quiet} {
		_ = w
		for _, words := range []string{"a", "a", "b", long} {
			p.step(words)
		}
		p.end()
		p.line("done")
	}
	if lines.String() != "a\nb\n"+long+"\ndone\n" {
		t.Errorf("%q", lines.String())
	}
	if want := "\r\x1b[Ka\r\x1b[Kb\r\x1b[K" + long[:lineWidth-1] + "…\r\x1b[Kdone\n"; terminal.String() != want {
		t.Errorf("%q", terminal.String())
	}
	if quiet.String() != "" {
		t.Errorf("%q", quiet.String())
	}
}
