package server

import (
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// clone is a Spec whose servers may be changed.
func clone(s *fsm.Spec) *fsm.Spec {
	next := *s
	next.Servers = maps.Clone(s.Servers)
	return &next
}

func TestMemberAddIsJudged(t *testing.T) {
	priority := 5
	for _, tt := range []struct {
		body string
		want fsm.Server // as it is agreed on
		code string
		says string // in the message or the hint
	}{
		{`{"name":"n4","addr":"127.0.0.1:2204"}`, fsm.Server{Name: "n4", Addr: "127.0.0.1:2204", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"ip", "log", "one"}}, "", ""},
		{`{"name":"n4","addr":"127.0.0.1:2204","systems":["one","ip","one"],"priority":5}`, fsm.Server{Name: "n4", Addr: "127.0.0.1:2204", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"ip", "one"}, Priority: 5, HasPriority: true}, "", ""},
		{`{"name":"n4","addr":"127.0.0.1:2204","role":"arbiter"}`, fsm.Server{Name: "n4", Addr: "127.0.0.1:2204", Role: fsm.RoleArbiter}, "", ""},
		{`{"name":"n4","addr":"[::ffff:10.0.0.4]:2204","role":"voter"}`, fsm.Server{Name: "n4", Addr: "10.0.0.4:2204", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"ip", "log", "one"}}, "", ""},
		{`{"name":"n3","addr":"127.0.0.1:2203","role":"arbiter"}`, fsm.Server{Name: "n3", Addr: "127.0.0.1:2203", Role: fsm.RoleArbiter}, "", ""}, // once more
		{`{"name":"n3","addr":"127.0.0.1:2204"}`, fsm.Server{}, api.CodeRefused, "n3 is a member already, arbiter at 127.0.0.1:2203, serving nothing"},
		{`{"name":"n4","addr":"127.0.0.1:2201"}`, fsm.Server{}, api.CodeRefused, "127.0.0.1:2201 is the address of n1"},
		{`{"name":"n4","addr":"10.9.9.9:2204"}`, fsm.Server{}, api.CodeRefused, "10.9.9.9 belongs to item vip of system web"},
		{`{"name":"n4","addr":"n4.example.com:2204"}`, fsm.Server{}, api.CodeRefused, "depend on a resolver"},
		{`{"name":"n4","addr":"10.0.0.4"}`, fsm.Server{}, api.CodeRefused, "no address and port"},
		{`{"name":"n4","addr":"10.0.0.4:0"}`, fsm.Server{}, api.CodeRefused, "has no port"},
		{`{"name":"n4","addr":"0.0.0.0:2204"}`, fsm.Server{}, api.CodeRefused, "no address of a single host"},
		{`{"name":"n4","addr":"[fe80::1%eth0]:2204"}`, fsm.Server{}, api.CodeRefused, "has a zone"},
		{`{"name":"../n4","addr":"10.0.0.4:2204"}`, fsm.Server{}, api.CodeRefused, "cannot be"},
		{`{"name":"n4","addr":"10.0.0.4:2204","systems":["lgo"]}`, fsm.Server{}, api.CodeNotFound, "did you mean log?"},
		{`{"name":"n4","addr":"10.0.0.4:2204","systems":["something"]}`, fsm.Server{}, api.CodeNotFound, "the cluster's systems: ip, log, one, web"},
		{`{"name":"n4","addr":"10.0.0.4:2204","systems":["ip"],"role":"arbiter"}`, fsm.Server{}, api.CodeRefused, "serves no system"},
		{`{"name":"n4","addr":"10.0.0.4:2204","priority":-1000001}`, fsm.Server{}, api.CodeRefused, "priority cannot be -1000001"},
		{`{"name":"n4","addr":"127.0.0.1:2204","role":"agent"}`, fsm.Server{Name: "n4", Addr: "127.0.0.1:2204", Role: fsm.RoleAgent, Systems: []fsm.SystemID{"ip", "log", "one"}}, "", ""},
		{`{"name":"n4","addr":"127.0.0.1:2204","role":"agent","systems":["ip"],"priority":5}`, fsm.Server{Name: "n4", Addr: "127.0.0.1:2204", Role: fsm.RoleAgent, Systems: []fsm.SystemID{"ip"}, Priority: 5, HasPriority: true}, "", ""},
		{`{"name":"n4","addr":"10.0.0.4:2204","role":"boss"}`, fsm.Server{}, api.CodeRefused, "unknown"},
		{`{"name":"n4"}`, fsm.Server{}, api.CodeBadRequest, "a name and an address"},
		{`{"name":"n4","addr":"10.0.0.4:2204","voter":true}`, fsm.Server{}, api.CodeBadRequest, "unknown field"},
	} {
		w := &writable{world: running(t)}
		if strings.Contains(tt.says, "vip") || strings.Contains(tt.says, "web") {
			next := clone(w.s.Spec())
			next.Systems = map[fsm.SystemID]fsm.System{"web": {
				Name: "web", Split: fsm.Shard, Guarantee: fsm.AtMostOne, Action: fsm.ActionIP, IP: &fsm.IP{},
				Items: []fsm.Item{{ID: "vip", Addrs: []string{"10.9.9.9/24"}}},
			}}
			for id, sys := range w.s.Spec().Systems {
				next.Systems[id] = sys
			}
			w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: *next})
		}
		var out api.MemberChanged
		_, e := w.post(api.PathMemberAdd, tt.body, &out)
		if e.Code != tt.code || !strings.Contains(e.Message+" "+e.Hint, tt.says) {
			t.Errorf("%s: %+v, want code %q saying %q", tt.body, e, tt.code, tt.says)
			continue
		}
		if tt.code != "" {
			continue
		}
		got := w.s.Spec().Servers[tt.want.Name]
		if got.Addr != tt.want.Addr || got.Role != tt.want.Role || got.Priority != tt.want.Priority || got.HasPriority != tt.want.HasPriority || !slices.Equal(got.Systems, tt.want.Systems) {
			t.Errorf("%s: %+v, want %+v", tt.body, got, tt.want)
		}
		if out.Member.Name != tt.want.Name || out.Member.Addr != tt.want.Addr || out.Index != w.at {
			t.Errorf("%s: answered %+v", tt.body, out)
		}
		if tt.want.HasPriority && (out.Member.Priority == nil || *out.Member.Priority != priority) {
			t.Errorf("%s: priority %v", tt.body, out.Member.Priority)
		}
	}
}

// crowd has n voters, named v1 and so on, of which the first up run.
func crowd(t *testing.T, n, running, quorum int) *writable {
	w := &writable{world: &world{t: t, s: fsm.New()}}
	s := spec()
	s.Quorum = quorum
	s.Servers = map[fsm.MemberID]fsm.Server{}
	var ids []fsm.VoterID
	for i := range n {
		name := fsm.MemberID("v" + string(rune('1'+i)))
		s.Servers[name] = fsm.Server{Name: name, Addr: "10.0.0." + string(rune('1'+i)) + ":1", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"ip", "log", "one"}}
		ids = append(ids, fsm.NewVoterID(name, "i"))
	}
	w.voters(ids...)
	w.do(fsm.SetSpec{Cluster: "c1", Spec: s})
	for i := range running {
		w.register(ids[i].Member())
	}
	return w
}

func TestAnEighthVoterIsRefused(t *testing.T) {
	w := crowd(t, 7, 7, 4)
	var out api.MemberChanged
	for _, role := range []string{"voter", "arbiter"} {
		if _, e := w.post(api.PathMemberAdd, `{"name":"n8","addr":"10.0.0.8:1","role":"`+role+`"}`, &out); e.Code != api.CodeRefused || e.Hint == "" || !strings.Contains(e.Message, "7 voters already") {
			t.Errorf("%s: %+v", role, e)
		}
	}
	// One that is being removed makes room.
	if _, e := w.post(api.PathMemberRemove, `{"name":"v7"}`, &out); e.Code != "" {
		t.Fatal(e)
	}
	if _, e := w.post(api.PathMemberAdd, `{"name":"n8","addr":"10.0.0.8:1"}`, &out); e.Code != "" {
		t.Errorf("after a removal: %+v", e)
	}
}

func TestMemberRemoveIsJudged(t *testing.T) {
	for _, tt := range []struct {
		voters, running, quorum int
		name                    string
		wantQuorum              int
		code, says              string // in the error or the warnings
	}{
		{5, 5, 3, "v2", 3, "", "4 voters bear the loss of no more than 3"},
		{5, 5, 4, "v2", 3, "", "4 voters"},
		{4, 4, 3, "v1", 2, "", ""},
		{3, 3, 2, "v3", 2, "", "two voters stay: neither can ever call the other down"},
		{2, 2, 2, "v2", 1, "", "one voter stays"},
		{3, 2, 2, "v3", 2, "", "two voters stay"}, // the dead one
		{3, 2, 2, "v1", 2, api.CodeRefused, "without v1 only 1 of 2 voters would be there, and 2 are needed (v3 is never seen)"},
		{5, 3, 3, "v1", 3, api.CodeRefused, "only 2 of 4 voters"},
		{5, 3, 3, "v5", 3, "", "4 voters"},
		{1, 1, 1, "v1", 1, api.CodeRefused, "v1 is the last voter"},
		{3, 3, 2, "v33", 2, api.CodeNotFound, "did you mean v3?"},
		{3, 3, 2, "elephant", 2, api.CodeNotFound, "the members: v1, v2, v3"},
		{3, 3, 2, "", 2, api.CodeBadRequest, "which member?"},
	} {
		w := crowd(t, tt.voters, tt.running, tt.quorum)
		var out api.MemberChanged
		_, e := w.post(api.PathMemberRemove, `{"name":"`+tt.name+`"}`, &out)
		said := e.Message + " " + e.Hint + strings.Join(out.Warnings, " ")
		if e.Code != tt.code || !strings.Contains(said, tt.says) || tt.code != "" && e.Hint == "" && tt.code != api.CodeBadRequest {
			t.Errorf("%d voters, %s: %+v, %q; want code %q saying %q", tt.voters, tt.name, e, out.Warnings, tt.code, tt.says)
		}
		if removing := w.s.Spec().Servers[fsm.MemberID(tt.name)].Removing; removing != (tt.code == "") || removing != out.Member.Removing {
			t.Errorf("%d voters, %s: removing %v, answered %+v", tt.voters, tt.name, removing, out)
		}
		if got := w.s.Spec().Quorum; tt.code == "" && got != tt.wantQuorum {
			t.Errorf("%d voters, %s: quorum %d, want %d", tt.voters, tt.name, got, tt.wantQuorum)
		}
	}
}

// Those that are on their way out count no more, whether they have their vote yet
// or not.
func TestTheLastOfManyRemovals(t *testing.T) {
	w := crowd(t, 3, 3, 2)
	var out api.MemberChanged
	for _, name := range []string{"v1", "v2"} {
		if _, e := w.post(api.PathMemberRemove, `{"name":"`+name+`"}`, &out); e.Code != "" {
			t.Fatalf("%s: %+v", name, e)
		}
	}
	if _, e := w.post(api.PathMemberRemove, `{"name":"v3"}`, &out); e.Code != api.CodeRefused || !strings.Contains(e.Message, "v3 is the last voter") {
		t.Errorf("%+v", e)
	}
}

func TestRemovalWarnsOfSystems(t *testing.T) {
	w := &writable{world: running(t)} // n1 and n2 serve, n3 is an arbiter
	var out api.MemberChanged
	if _, e := w.post(api.PathMemberRemove, `{"name":"n1"}`, &out); e.Code != "" || !slices.Contains(out.Warnings, "one member will serve system one: it cannot fail over") {
		t.Errorf("%+v %q", e, out.Warnings)
	}
	at := w.at
	if _, e := w.post(api.PathMemberRemove, `{"name":"n1"}`, &out); e.Code != "" || w.at != at {
		t.Errorf("once more: %+v at %d", e, w.at)
	}
	if _, e := w.post(api.PathMemberAdd, `{"name":"n1","addr":"127.0.0.1:2201"}`, &out); e.Code != api.CodeRefused || !strings.Contains(e.Message, "being removed") {
		t.Errorf("added meanwhile: %+v", e)
	}
	w = &writable{world: running(t)}
	next := clone(w.s.Spec())
	n1 := next.Servers["n1"]
	n1.Systems = nil
	next.Servers["n1"] = n1
	w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: *next})
	if _, e := w.post(api.PathMemberRemove, `{"name":"n2"}`, &out); e.Code != "" || !slices.Contains(out.Warnings, "no other member serves system ip: its items will be nobody's") {
		t.Errorf("%+v %q", e, out.Warnings)
	}
}

// Two changes at once from two members: both take effect, or one is refused with
// a reason.
func TestChangesOfMembersAtOnce(t *testing.T) {
	w := crowd(t, 3, 3, 2)
	once := 0
	faster := func(change func(*fsm.Spec)) func() {
		return func() {
			if once++; once == 1 {
				next := clone(w.s.Spec())
				change(next)
				w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: *next})
			}
		}
	}
	w.between = faster(func(s *fsm.Spec) {
		s.Servers["n5"] = fsm.Server{Name: "n5", Addr: "10.0.0.5:1", Role: fsm.RoleVoter}
	})
	var out api.MemberChanged
	if _, e := w.post(api.PathMemberAdd, `{"name":"n4","addr":"10.0.0.4:1"}`, &out); e.Code != "" {
		t.Fatalf("the slower one: %+v", e)
	}
	if s := w.s.Spec().Servers; len(s) != 5 || s["n4"].Addr == "" || s["n5"].Addr == "" {
		t.Errorf("servers %v", s)
	}
	// The same address: the slower one is told.
	once = 0
	w.between = faster(func(s *fsm.Spec) {
		s.Servers["n7"] = fsm.Server{Name: "n7", Addr: "10.0.0.6:1", Role: fsm.RoleVoter}
	})
	if _, e := w.post(api.PathMemberAdd, `{"name":"n6","addr":"10.0.0.6:1"}`, &out); e.Code != api.CodeRefused || !strings.Contains(e.Message, "the address of n7") {
		t.Errorf("the same address: %+v", e)
	}
	// Somebody who is always faster.
	w.between = func() {
		next := clone(w.s.Spec())
		next.RemoveOnFailure = !next.RemoveOnFailure
		w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: *next})
	}
	if _, e := w.post(api.PathMemberRemove, `{"name":"v1"}`, &out); e.Code != api.CodeRefused || !strings.Contains(e.Message, "changed since") {
		t.Errorf("always slower: %+v", e)
	}
	// What is refused for another reason is not tried again.
	tries := 0
	w.between = func() { tries++ }
	w.err = api.NoLeader("nobody")
	if _, e := w.post(api.PathMemberRemove, `{"name":"v1"}`, &out); e.Code != api.CodeNoLeader {
		t.Errorf("without a leader: %+v", e)
	}
	if w.verify = api.NoLeader("nobody"); tries != 0 {
		t.Errorf("%d tries", tries)
	}
}

func TestMembersShowHowFarTheyAre(t *testing.T) {
	w := &writable{world: running(t)}
	get := func(path string) api.Members {
		t.Helper()
		h := NewLocal(LocalConfig{Log: zerolog.Nop(), Node: w, Status: w, Verifier: w, Proposer: w}).http.Handler
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		var out api.Members
		if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil || rec.Code != http.StatusOK {
			t.Fatalf("%d %v: %s", rec.Code, err, rec.Body)
		}
		return out
	}
	waits := func(name fsm.MemberID, want ...string) api.MemberInfo {
		t.Helper()
		m, found := get(api.PathMembers).Find(name)
		got := strings.Join(m.Waits, "\n")
		for _, words := range want {
			if !strings.Contains(got, words) {
				t.Errorf("%s waits for %q, want %q in it", name, got, words)
			}
		}
		if len(want) == 0 && got != "" || !found {
			t.Errorf("%s (%v) waits for %q", name, found, got)
		}
		return m
	}
	list := get(api.PathMembers + "?consistent")
	if v := list.Voters; v.Have != 3 || v.Majority != 2 || v.Quorum != 2 || v.BearsLost != 1 || v.Words == "" {
		t.Errorf("voters %+v", v)
	}
	if n1, _ := list.Find("n1"); n1.Items != 2 || !n1.Vote || n1.Leader || n1.State != api.MemberUp || n1.Role != "voter" {
		t.Errorf("n1 %+v", n1)
	}
	if n3, _ := list.Find("n3"); !n3.Leader || n3.Role != "arbiter" || n3.Items != 0 {
		t.Errorf("n3 %+v", n3)
	}
	var out api.MemberChanged
	if _, e := w.post(api.PathMemberAdd, `{"name":"n4","addr":"127.0.0.1:2204"}`, &out); e.Code != "" {
		t.Fatal(e)
	}
	waits("n4", "flip run --join 127.0.0.1:2201")
	w.register("n4")
	waits("n4", "it has no vote yet: it gets it once")
	w.down("n4")
	waits("n4", "it has no vote yet, and is down: start flip on it")
	w.register("n4")
	w.voters("n1/i", "n2/i", "n3/i", "n4/i")
	waits("n4")
	if _, e := w.post(api.PathMemberRemove, `{"name":"n1"}`, &out); e.Code != "" {
		t.Fatal(e)
	}
	if m := waits("n1", "it still owns ip/a", "it still has its vote"); !m.Removing {
		t.Errorf("%+v", m)
	}
	w.do(fsm.Maintain{System: "ip", On: true})
	waits("n1", "nothing of ip moves: it is under maintenance")
	w.do(fsm.Maintain{System: "ip"})
	// Its hook's effect may be left there.
	x, _ := w.s.Slot(fsm.Key{System: "one", Item: "x"})
	w.down("n1", fsm.Move{Key: x.Key, Was: x.Token, To: "n2"})
	if m := waits("n1", "it is down, and may still hold log/l, one/x", "--force"); m.Items != 1 || m.Entries == 0 {
		t.Errorf("%+v", m)
	}
	if _, e := w.post(api.PathMemberRemove, `{"name":"n2"}`, &out); e.Code != "" {
		t.Fatal(e)
	}
	w.down("n4")
	waits("n2", "without it fewer than a majority of the voters would be up")
}

func TestJoining(t *testing.T) {
	w := running(t)
	ask := func(name fsm.MemberID, instance, cluster string) (api.Joined, error) {
		return joining(w.s, w.at, "n3", api.Join{Name: name, Instance: instance, Cluster: cluster})
	}
	got, err := ask("n4", "i4", "")
	if err != nil || got.Named || got.Cluster != "c1" || got.Index != w.at || got.Leader != "n3" || len(got.Spec) > 0 || len(got.Others) != 3 {
		t.Errorf("not added: %+v, %v", got, err)
	}
	next := clone(w.s.Spec())
	next.Servers["n4"] = fsm.Server{Name: "n4", Addr: "127.0.0.1:2204", Role: fsm.RoleVoter}
	w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: *next})
	got, err = ask("n4", "i4", "")
	if err != nil || !got.Named {
		t.Fatalf("added: %+v, %v", got, err)
	}
	c, err := fsm.Decode(got.Spec)
	set, ok := c.(fsm.SetSpec)
	if err != nil || !ok || set.Cluster != "c1" || set.Spec.Version != w.s.Spec().Version || len(set.Spec.Servers) != 4 || len(set.Spec.Systems) != 3 {
		t.Errorf("what is agreed: %+v, %v", set, err)
	}
	// Its own process, a wiped one once it is down, and somebody else.
	if got, err = ask("n1", "i", ""); err != nil || !got.Named {
		t.Errorf("itself: %+v, %v", got, err)
	}
	if got, err = ask("n1", "another", ""); api.CodeOf(err) != api.CodeTaken || got.Named || len(got.Spec) > 0 {
		t.Errorf("taken: %+v, %v", got, err)
	}
	w.down("n1")
	if got, err = ask("n1", "another", ""); err != nil || !got.Named {
		t.Errorf("back with an empty directory: %+v, %v", got, err)
	}
	if got, err = ask("n4", "i4", "c2"); err != nil || got.Named || len(got.Spec) > 0 || got.Cluster != "c1" {
		t.Errorf("of another cluster: %+v, %v", got, err)
	}
	next = clone(w.s.Spec())
	n4 := next.Servers["n4"]
	n4.Removing = true
	next.Servers["n4"] = n4
	w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: *next})
	if got, err = ask("n4", "i4", ""); err != nil || got.Named || !got.Removing {
		t.Errorf("being removed: %+v, %v", got, err)
	}
	empty := &world{s: fsm.New()}
	if got, err = joining(empty.s, 0, "", api.Join{Name: "n4"}); err != nil || got.Named || got.Cluster != "" {
		t.Errorf("not founded: %+v, %v", got, err)
	}
}

func TestJoinNeedsTheCertificateOfItsName(t *testing.T) {
	w := &writable{world: running(t)}
	h := NewMembers(MembersConfig{Log: zerolog.Nop(), Node: w, Identify: func(net.Conn) (fsm.MemberID, error) { return "n4", nil }}).http.Handler
	for _, tt := range []struct {
		body   string
		status int
	}{{`{"name":"n4"}`, http.StatusOK}, {`{"name":"n5"}`, http.StatusForbidden}, {`{`, http.StatusBadRequest}} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, api.PathJoin, strings.NewReader(tt.body)))
		if rec.Code != tt.status {
			t.Errorf("%s: %d %s", tt.body, rec.Code, rec.Body)
		}
	}
}
