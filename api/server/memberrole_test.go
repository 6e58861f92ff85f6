package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// respecced changes the Spec of a world as another member would.
func (w *writable) respecced(next fsm.Spec) {
	w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: next})
}

func TestRolesAreJudged(t *testing.T) {
	for _, tt := range []struct {
		voters, running, quorum int
		path, name              string
		wantQuorum              int
		code, says              string // in the error or the warnings
	}{
		{5, 5, 3, api.PathMemberDemote, "v2", 3, "", "4 voters bear the loss of no more than 3"},
		{5, 5, 4, api.PathMemberDemote, "v2", 3, "", "4 voters"},
		{4, 4, 3, api.PathMemberDemote, "v1", 2, "", ""},
		{3, 3, 2, api.PathMemberDemote, "v3", 2, "", "two voters stay: neither can ever call the other down"},
		{2, 2, 2, api.PathMemberDemote, "v2", 1, "", "one voter stays"},
		{3, 2, 2, api.PathMemberDemote, "v3", 2, "", "two voters stay"}, // the dead one
		{3, 2, 2, api.PathMemberDemote, "v1", 2, api.CodeRefused, "without v1 only 1 of 2 voters would be there, and 2 are needed (v3 is never seen)"},
		{5, 3, 3, api.PathMemberDemote, "v1", 3, api.CodeRefused, "only 2 of 4 voters"},
		{1, 1, 1, api.PathMemberDemote, "v1", 1, api.CodeRefused, "v1 is the last voter"},
		{3, 3, 2, api.PathMemberDemote, "v33", 2, api.CodeNotFound, "did you mean v3?"},
		{3, 3, 2, api.PathMemberDemote, "elephant", 2, api.CodeNotFound, "the members: a1, a2, v1, v2, v3"},
		{3, 3, 2, api.PathMemberDemote, "", 2, api.CodeBadRequest, "which member?"},
		{3, 3, 2, api.PathMemberPromote, "a1", 2, "", "4 voters bear the loss of no more than 3"},
		{4, 4, 3, api.PathMemberPromote, "a1", 3, "", ""},
		{4, 4, 3, api.PathMemberPromote, "a2", 3, "", "a2 is never seen: it gets its vote once it is up"},
		{7, 7, 4, api.PathMemberPromote, "a1", 4, api.CodeRefused, "the cluster has 7 voters already"},
		{3, 3, 2, api.PathMemberPromote, "a11", 2, api.CodeNotFound, "did you mean a1?"},
		{3, 3, 2, api.PathMemberPromote, "", 2, api.CodeBadRequest, "which member?"},
	} {
		w := crowd(t, tt.voters, tt.running, tt.quorum)
		next := clone(w.s.Spec())
		for i, name := range []fsm.MemberID{"a1", "a2"} {
			next.Servers[name] = fsm.Server{Name: name, Addr: fmt.Sprintf("10.0.1.%d:1", i+1), Role: fsm.RoleAgent, Systems: []fsm.SystemID{"ip"}}
		}
		w.respecced(*next)
		w.register("a1")
		promotes := tt.path == api.PathMemberPromote
		var out api.MemberChanged
		_, e := w.post(tt.path, `{"name":"`+tt.name+`"}`, &out)
		said := e.Message + " " + e.Hint + strings.Join(out.Warnings, " ")
		if e.Code != tt.code || !strings.Contains(said, tt.says) || tt.code != "" && e.Hint == "" && tt.code != api.CodeBadRequest {
			t.Errorf("%d voters, %s %s: %+v, %q; want code %q saying %q", tt.voters, tt.path, tt.name, e, out.Warnings, tt.code, tt.says)
		}
		server, in := w.s.Spec().Servers[fsm.MemberID(tt.name)]
		if changed := server.Votes() == promotes; in && changed != (tt.code == "") {
			t.Errorf("%d voters, %s %s: role %s", tt.voters, tt.path, tt.name, server.Role)
		}
		if tt.code == "" && (out.Member.Name != fsm.MemberID(tt.name) || out.Member.Role != server.Role.String() || out.Index != w.at) {
			t.Errorf("%d voters, %s %s: answered %+v", tt.voters, tt.path, tt.name, out)
		}
		if got := w.s.Spec().Quorum; tt.code == "" && got != tt.wantQuorum {
			t.Errorf("%d voters, %s %s: quorum %d, want %d", tt.voters, tt.path, tt.name, got, tt.wantQuorum)
		}
	}
}

// What is as asked for already is not changed, and no error.
func TestRolesOnceMore(t *testing.T) {
	w := crowd(t, 3, 3, 2)
	var out api.MemberChanged
	twice := func(path, body string, role fsm.Role) {
		t.Helper()
		if _, e := w.post(path, body, &out); e.Code != "" {
			t.Fatalf("%s: %+v", path, e)
		}
		at := w.at
		if _, e := w.post(path, body, &out); e.Code != "" || w.at != at || out.Member.Role != role.String() {
			t.Errorf("%s once more: %+v at %d: %+v", path, e, w.at, out)
		}
	}
	twice(api.PathMemberDemote, `{"name":"v3"}`, fsm.RoleAgent)
	twice(api.PathMemberPromote, `{"name":"v3"}`, fsm.RoleVoter)
	if _, e := w.post(api.PathMemberPromote, `{"name":"v1","role":"voter"}`, &out); e.Code != api.CodeBadRequest {
		t.Errorf("an unknown field: %+v", e)
	}
	if _, e := w.post(api.PathMemberRemove, `{"name":"v3"}`, &out); e.Code != "" {
		t.Fatal(e)
	}
	for _, path := range []string{api.PathMemberPromote, api.PathMemberDemote} {
		if _, e := w.post(path, `{"name":"v3"}`, &out); e.Code != api.CodeRefused || !strings.Contains(e.Message, "v3 is being removed") {
			t.Errorf("%s of one that is being removed: %+v", path, e)
		}
	}
}

func TestAnArbiterIsNoAgent(t *testing.T) {
	w := &writable{world: running(t)} // n3 is an arbiter
	var out api.MemberChanged
	if _, e := w.post(api.PathMemberDemote, `{"name":"n3"}`, &out); e.Code != api.CodeRefused || !strings.Contains(e.Hint, "flip member remove n3") {
		t.Errorf("%+v", e)
	}
	if _, e := w.post(api.PathMemberAdd, `{"name":"a1","addr":"127.0.0.1:2204","role":"agent"}`, &out); e.Code != "" || len(out.Warnings) > 0 {
		t.Fatalf("%+v, %q", e, out.Warnings)
	}
	next := clone(w.s.Spec())
	a1 := next.Servers["a1"]
	a1.Systems = nil
	next.Servers["a1"] = a1
	w.respecced(*next)
	if _, e := w.post(api.PathMemberPromote, `{"name":"a1"}`, &out); e.Code != "" || out.Member.Role != "arbiter" {
		t.Errorf("one that serves nothing: %+v, %+v", e, out.Member)
	}
}

// Two changes at once from two members: both count, or the slower one is judged by what
// the faster one has left.
func TestRolesAtOnce(t *testing.T) {
	w := crowd(t, 3, 3, 2)
	faster := func(name fsm.MemberID) {
		once := true
		w.between = func() {
			if once {
				once = false
				w.respecced(w.s.Spec().WithRole(name, fsm.RoleAgent))
			}
		}
	}
	var out api.MemberChanged
	faster("v1")
	if _, e := w.post(api.PathMemberDemote, `{"name":"v2"}`, &out); e.Code != "" || !slices.Equal(w.s.Spec().Staying(), []fsm.MemberID{"v3"}) {
		t.Fatalf("%+v: %v stay", e, w.s.Spec().Staying())
	}
	if !slices.ContainsFunc(out.Warnings, func(s string) bool { return strings.HasPrefix(s, "one voter stays") }) {
		t.Errorf("warned of what was: %q", out.Warnings)
	}
	// The last two, each from one member.
	w = crowd(t, 2, 2, 2)
	faster("v1")
	if _, e := w.post(api.PathMemberDemote, `{"name":"v2"}`, &out); e.Code != api.CodeRefused || !strings.Contains(e.Message, "v2 is the last voter") {
		t.Errorf("the last two at once: %+v", e)
	}
	// The seventh place.
	w = crowd(t, 6, 6, 4)
	next := clone(w.s.Spec())
	for i, name := range []fsm.MemberID{"a1", "a2"} {
		next.Servers[name] = fsm.Server{Name: name, Addr: fmt.Sprintf("10.0.1.%d:1", i+1), Role: fsm.RoleAgent, Systems: []fsm.SystemID{"ip"}}
	}
	w.respecced(*next)
	once := true
	w.between = func() {
		if once {
			once = false
			w.respecced(w.s.Spec().WithRole("a1", fsm.RoleVoter))
		}
	}
	if _, e := w.post(api.PathMemberPromote, `{"name":"a2"}`, &out); e.Code != api.CodeRefused || !strings.Contains(e.Message, "7 voters already") {
		t.Errorf("the eighth: %+v", e)
	}
}

func TestAgentsAreMembers(t *testing.T) {
	w := crowd(t, 7, 7, 4)
	var out api.MemberChanged
	if _, e := w.post(api.PathMemberAdd, `{"name":"a1","addr":"10.0.1.1:1","role":"agent"}`, &out); e.Code != "" || out.Member.Role != "agent" || len(out.Member.Systems) != 3 || len(out.Warnings) > 0 {
		t.Fatalf("beside seven voters: %+v, %+v", e, out)
	}
	waits := func(want string) {
		t.Helper()
		m, _ := MembersOf(w.s, api.Stamp{}).Find("a1")
		if got := strings.Join(m.Waits, "; "); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("it waits for %q, want %q", got, want)
		}
	}
	waits("start flip on a1, `flip run --join 10.0.0.")
	w.register("a1")
	waits("")
	list := MembersOf(w.s, api.Stamp{})
	if m, _ := list.Find("a1"); m.Vote || m.Role != "agent" || m.State != api.MemberUp {
		t.Errorf("%+v", m)
	}
	if v := list.Voters; v.Have != 7 || v.Quorum != 4 || !strings.HasSuffix(v.Words, "; 1 agent without a vote") {
		t.Errorf("%+v", v)
	}
	if _, e := w.post(api.PathMemberDemote, `{"name":"v7"}`, &out); e.Code != "" || !out.Member.Vote || len(out.Member.Waits) != 1 {
		t.Errorf("the vote goes later: %+v, %+v", e, out.Member)
	}
	w.voters("v1/i", "v2/i", "v3/i", "v4/i", "v5/i", "v6/i")
	if m, _ := MembersOf(w.s, api.Stamp{}).Find("v7"); m.Vote || len(m.Waits) > 0 || m.Role != "agent" {
		t.Errorf("%+v", m)
	}
	var gone api.MemberChanged
	if _, e := w.post(api.PathMemberRemove, `{"name":"a1"}`, &gone); e.Code != "" || len(gone.Warnings) > 0 {
		t.Errorf("removed: %+v, %q", e, gone.Warnings)
	}
	got, err := joining(w.s, w.at, "v1", api.Join{Name: "v1", Instance: "i"})
	if err != nil || !got.Named || len(got.Others) != 5 {
		t.Errorf("who joins is sent to voters: %+v, %v", got, err)
	}
}

// A status with agents: what counts votes does not count them, and of many that are
// away one alarm tells.
func TestStatusWithAgents(t *testing.T) {
	w := running(t)
	next := clone(w.s.Spec())
	var names []fsm.MemberID
	for i := range 5 {
		name := fsm.MemberID(fmt.Sprintf("a%d", i))
		names = append(names, name)
		next.Servers[name] = fsm.Server{Name: name, Addr: fmt.Sprintf("10.0.1.%d:1", i+1), Role: fsm.RoleAgent, Systems: []fsm.SystemID{"ip"}}
	}
	w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: *next})
	w.voters("n1/i", "n2/i", "n3/i")
	about := func(words string) (n int) {
		for _, a := range w.status().Alarms {
			if strings.Contains(a.What, words) {
				n++
			}
		}
		return n
	}
	if about("5 agents have never joined: a0, a1, a2 and 2 more") != 1 || about("has never joined") != 0 {
		t.Errorf("%+v", w.status().Alarms)
	}
	w.register(names...)
	if q := w.status().Cluster.Quorum; q.Votes != 2 || q.Others != 2 {
		t.Errorf("quorum %+v", q)
	}
	if f := w.status().Cluster.Failover; strings.Contains(strings.Join(f.Why, " "), "votes") {
		t.Errorf("failover %+v", f)
	}
	for _, name := range names[:3] {
		w.down(name)
	}
	if about("a0 is down") != 1 || about("agents are down") != 0 {
		t.Errorf("few of them: %+v", w.status().Alarms)
	}
	w.down("a3")
	if about("4 agents are down: a0, a1, a2 and 1 more") != 1 || about("is down") != 0 {
		t.Errorf("many of them: %+v", w.status().Alarms)
	}
	seed := clone(w.s.Spec())
	l := w.local()
	l.Seed = seed
	if q := Compose(l, fsm.New(), 0).Cluster.Quorum; q.Others != 2 {
		t.Errorf("before founding: %+v", q)
	}
}
