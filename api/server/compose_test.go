package server

import (
	"slices"
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// withoutOne is a world whose at-most-one hook system is gone: with it a
// failover after a crash is never fully possible.
func withoutOne(t *testing.T) *world {
	w := running(t)
	sp := spec()
	delete(sp.Systems, "one")
	for n, s := range sp.Servers {
		if len(s.Systems) > 0 {
			s.Systems = []fsm.SystemID{"ip", "log"}
			sp.Servers[n] = s
		}
	}
	w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: sp})
	// The item of the system that went is let go of.
	m, _ := w.s.Member("n1")
	slot, _ := w.s.Slot(fsm.Key{System: "one", Item: "x"})
	for _, e := range slot.Outstanding {
		w.do(fsm.Report{Member: "n1", Epoch: m.Epoch, Released: []fsm.Claim{{Key: slot.Key, Member: "n1", Epoch: e.Epoch, Token: e.Token}}})
	}
	return w
}

func TestCheckCodes(t *testing.T) {
	tests := []struct {
		name   string
		do     func(w *world, l *Local)
		code   int
		reason string
	}{
		{"all well", func(*world, *Local) {}, api.CheckOK, ""},
		{"no leader", func(_ *world, l *Local) { l.Leader = "" }, api.CheckBroken, "no leader"},
		{"one of three down", func(w *world, _ *Local) {
			slot, _ := w.s.Slot(fsm.Key{System: "ip", Item: "a"})
			w.down("n1", fsm.Move{Key: slot.Key, Was: slot.Token, To: "n2"})
			w.acquired("ip", "a")
		}, api.CheckDegraded, "failover impossible"},
		{"the arbiter is down", func(w *world, _ *Local) { w.down("n3") }, api.CheckDegraded, "failover impossible"},
		{"owner down and nobody takes it", func(w *world, _ *Local) { w.down("n1") }, api.CheckBroken, "ip: 1 of 2 items without a holder"},
		{"moving, still held by the former owner", func(w *world, _ *Local) { w.move("ip", "a", "n2") }, api.CheckDegraded, "ip: 1 of 2 items not yet acquired"},
		{"given to nobody, released", func(w *world, _ *Local) {
			slot, _ := w.s.Slot(fsm.Key{System: "ip", Item: "a"})
			m, _ := w.s.Member("n1")
			w.move("ip", "a", "")
			w.do(fsm.Report{Member: "n1", Epoch: m.Epoch, Released: []fsm.Claim{{Key: slot.Key, Member: "n1", Epoch: m.Epoch, Token: slot.Token}}})
		}, api.CheckBroken, "without a holder"},
		{"drift", func(_ *world, l *Local) { l.Differences = []string{"quorum 2 -> 3"} }, api.CheckDegraded, "drift"},
		{"failure remembered", func(w *world, _ *Local) {
			m, _ := w.s.Member("n2")
			slot, _ := w.s.Slot(fsm.Key{System: "ip", Item: "b"})
			w.do(fsm.Report{Member: "n2", Epoch: m.Epoch, Failed: []fsm.Failure{{Key: slot.Key, Token: slot.Token, Err: "boom"}}})
		}, api.CheckDegraded, "1 failures remembered"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := withoutOne(t)
			l := w.local()
			tt.do(w, &l)
			st := Compose(l, w.s, w.at)
			code, reasons := st.Check()
			if code != tt.code || !strings.Contains(strings.Join(reasons, "; "), tt.reason) {
				t.Errorf("got %d %q, want %d with %q (%+v)", code, reasons, tt.code, tt.reason, st.Cluster.Failover)
			}
			if (code == api.CheckOK) != (len(reasons) == 0) {
				t.Errorf("code %d with reasons %q", code, reasons)
			}
		})
	}
}

func TestAtMostOneHooksNeverFailOver(t *testing.T) {
	st := running(t).status()
	if st.Cluster.Failover.Possible || !strings.Contains(strings.Join(st.Cluster.Failover.Why, ";"), "at-most-one with hooks") {
		t.Errorf("failover %+v", st.Cluster.Failover)
	}
}

func TestSystemCounts(t *testing.T) {
	w := running(t)
	slot, _ := w.s.Slot(fsm.Key{System: "one", Item: "x"})
	w.down("n1", fsm.Move{Key: slot.Key, Was: slot.Token, To: "n2"})
	got := map[fsm.SystemID]api.System{}
	for _, s := range w.status().Systems {
		got[s.Name] = s
	}
	if s := got["one"]; s.Items != 1 || s.Owned != 1 || s.Acquired != 0 || s.Outstanding != 1 || s.Unheld != 1 {
		t.Errorf("one: %+v", s)
	}
	if s := got["ip"]; s.Items != 2 || s.Owned != 2 || s.Acquired != 1 || s.Unheld != 1 {
		t.Errorf("ip: %+v", s)
	}
	if s := got["log"]; s.Items != 2 || s.Acquired != 2 {
		t.Errorf("log: %+v", s)
	}
}

func TestItemsNotPlacedAreUnheld(t *testing.T) {
	w := newWorld(t)
	w.register("n1")
	for _, s := range w.status().Systems {
		if s.Name == "ip" && (s.Items != 2 || s.Unheld != 2 || s.Owned != 0) {
			t.Errorf("ip: %+v", s)
		}
	}
}

func TestMemberStates(t *testing.T) {
	w := running(t)
	w.down("n1")
	m, _ := w.s.Member("n2")
	w.do(fsm.Leave{Member: "n2", Epoch: m.Epoch})
	got := map[fsm.MemberID]string{}
	for _, m := range w.status().Members {
		got[m.Name] = m.State
	}
	if got["n1"] != api.MemberDown || got["n2"] != api.MemberLeaving || got["n3"] != api.MemberUp {
		t.Errorf("states %v", got)
	}
	fresh := newWorld(t)
	if st := fresh.status(); st.Members[0].State != api.MemberNever || !st.Members[0].Voter {
		t.Errorf("never seen: %+v", st.Members[0])
	}
}

func TestQuorumWords(t *testing.T) {
	tests := []struct {
		voters []fsm.VoterID
		quorum int
		want   string
	}{
		{[]fsm.VoterID{"a/i"}, 1, "nobody calls a lost voter down: it takes 1 votes of others, there can be 0"},
		{[]fsm.VoterID{"a/i", "b/i"}, 0, "nobody calls a lost voter down: it takes 2 votes of others, there can be 1"},
		{[]fsm.VoterID{"a/i", "b/i", "c/i"}, 1, "2 of the 2 others call a lost voter down"},
		{[]fsm.VoterID{"a/i", "b/i", "c/i", "d/i"}, 0, "3 of the 3 others call a lost voter down"},
		{[]fsm.VoterID{"a/i", "b/i", "c/i", "d/i", "e/i"}, 4, "4 of the 4 others call a lost voter down"},
	}
	for _, tt := range tests {
		if got := quorumOf(fsm.Voters{IDs: tt.voters}, &fsm.Spec{Quorum: tt.quorum}); got.Words != tt.want {
			t.Errorf("%d voters, quorum %d: %q, want %q", len(tt.voters), tt.quorum, got.Words, tt.want)
		}
	}
}

func TestFirstDay(t *testing.T) {
	// Not founded: the file's servers are shown, and what the node waits for.
	sp := spec()
	l := Local{
		Node: api.Node{ID: "n1", Phase: "waiting for a majority", Waiting: []string{"n2 and n3 do not answer"}}, Seed: &sp, AgeMS: -1,
		Peers: map[fsm.MemberID]Peer{
			"n2": {TCP: api.Finding{Code: api.FindRefused}, UDP: api.Finding{Code: api.FindSilent}},
			"n3": {TCP: api.Finding{Code: api.FindKey}},
		},
	}
	st := Compose(l, fsm.New(), 0)
	if len(st.Members) != 3 || len(st.Systems) != 3 || st.Cluster.Timing.TTLMS != 300 {
		t.Fatalf("the file is not shown: %+v", st)
	}
	wantAlarm(t, st, api.Critical, "the cluster is not founded yet: n2 and n3 do not answer", "start flip on the other servers")
	wantAlarm(t, st, api.Note, "n2 refuses TCP on 127.0.0.1:2202", "start it")
	wantAlarm(t, st, api.Note, "n3 has another key", "same `key`")
	if code, _ := st.Check(); code != api.CheckBroken {
		t.Errorf("check %d", code)
	}
}

func TestFindingsInWords(t *testing.T) {
	f := func(tcp, udp string) [2]api.Finding { return [2]api.Finding{{Code: tcp}, {Code: udp}} }
	tests := []struct {
		name     string
		found    [2]api.Finding
		what, do string
	}{
		{"well", f(api.FindOK, api.FindOK), "", ""},
		{"not looked at", f("", ""), "", ""},
		{"TCP refused", f(api.FindRefused, api.FindSilent), "n1 refuses TCP on 127.0.0.1:2201", "compare the files"},
		{"TCP silent", f(api.FindSilent, api.FindSilent), "n1 is silent on TCP at 127.0.0.1:2201", "firewall? flip needs TCP and UDP on 2201"},
		{"TCP silent, UDP works", f(api.FindSilent, api.FindOK), "silent on TCP while UDP works", "firewall? flip needs TCP and UDP on 2201"},
		{"UDP silent, TCP works", f(api.FindOK, api.FindSilent), "silent on UDP while TCP works", "firewall? flip needs TCP and UDP on 2201"},
		{"key by UDP alone", f(api.FindSilent, api.FindKey), "another key", "same `key`"},
		{"another cluster", [2]api.Finding{{Code: api.FindCluster, Detail: "c2, this is c1"}, {}}, "another cluster (c2, this is c1)", "empty its data_dir"},
		{"another voter list", f(api.FindVoters, ""), "names other voters", "same file"},
		{"another version", f(api.FindWire, ""), "no wire version", "upgrade"},
		{"another member", f(api.FindName, ""), "another member answers at 127.0.0.1:2201", "addresses"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			what, do := finding(api.Member{Name: "n1", Address: "127.0.0.1:2201", TCP: tt.found[0], UDP: tt.found[1]})
			if !strings.Contains(what, tt.what) || !strings.Contains(do, tt.do) || (tt.what == "") != (what == "") {
				t.Errorf("got %q, %q; want %q, %q", what, do, tt.what, tt.do)
			}
		})
	}
}

func TestAlarmsOfACrash(t *testing.T) {
	w := running(t)
	slot, _ := w.s.Slot(fsm.Key{System: "one", Item: "x"})
	w.down("n1", fsm.Move{Key: slot.Key, Was: slot.Token, To: "n2"})
	st := w.status()
	wantAlarm(t, st, api.Critical, "one/x has no holder: n1 (epoch 3) is down and may still hold it", "start flip on n1 again")
	wantAlarm(t, st, api.Warning, "n1 is down", "start flip on n1")
	if !slices.IsSortedFunc(st.Alarms, func(a, b api.Alarm) int { return rank(a.Severity) - rank(b.Severity) }) {
		t.Errorf("not worst first: %+v", st.Alarms)
	}
}

func TestAlarmsAreGrouped(t *testing.T) {
	w := running(t)
	sp := spec()
	ip := sp.Systems["ip"]
	ip.Items = []fsm.Item{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}}
	sp.Systems["ip"] = ip
	w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: sp})
	for _, item := range []fsm.ItemID{"c", "d"} {
		w.move("ip", item, "n1")
	}
	w.down("n1")
	wantAlarm(t, w.status(), api.Critical, "ip/a and 2 more of system ip has no holder: n1 is down", "")
}

func TestLapsedLeaseIsSaid(t *testing.T) {
	w := running(t)
	l := w.local()
	l.Node.Lease = api.Lease{}
	wantAlarm(t, Compose(l, w.s, w.at), api.Warning, "lease has ended", "voters it does not hear")
}

func wantAlarm(t *testing.T, st api.Status, severity, what, do string) {
	t.Helper()
	for _, a := range st.Alarms {
		if a.Severity == severity && strings.Contains(a.What, what) && strings.Contains(a.Do, do) {
			return
		}
	}
	t.Errorf("no %s alarm %q / %q in %+v", severity, what, do, st.Alarms)
}
