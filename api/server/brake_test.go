package server

import (
	"slices"
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// three is a world with three servers of ip and three replicas of its items, all held.
func three(t *testing.T) *world {
	w := running(t)
	sp := *w.s.Spec()
	ip := sp.Systems["ip"]
	ip.Replicas = 3
	sp.Systems = map[fsm.SystemID]fsm.System{"ip": ip}
	sp.Servers = map[fsm.MemberID]fsm.Server{}
	for id, server := range w.s.Spec().Servers {
		server.Role, server.Systems = fsm.RoleVoter, []fsm.SystemID{"ip"}
		sp.Servers[id] = server
	}
	w.do(fsm.SetSpec{Was: sp.Version, Spec: sp})
	for _, slot := range []struct {
		item fsm.ItemID
		rank int
		to   fsm.MemberID
	}{{"a", 1, "n2"}, {"a", 2, "n3"}, {"b", 1, "n3"}, {"b", 2, "n1"}} {
		w.rank(slot.item, slot.rank, slot.to)
	}
	return w
}

// rank gives a copy of an item of ip to a member, and has it acquired.
func (w *world) rank(item fsm.ItemID, rank int, to fsm.MemberID) {
	w.t.Helper()
	k := fsm.Key{System: "ip", Item: item, Rank: rank}
	slot, _ := w.s.Slot(k)
	w.do(fsm.Assign{Moves: []fsm.Move{{Key: k, Was: slot.Token, To: to}}})
	m, _ := w.s.Member(to)
	slot, _ = w.s.Slot(k)
	w.do(fsm.Report{Member: to, Epoch: m.Epoch, Acquired: []fsm.Claim{{Key: k, Member: to, Epoch: m.Epoch, Token: slot.Token}}})
}

func (w *world) ip() api.System { return w.status().Systems[0] }

func TestCopiesAreCountedApart(t *testing.T) {
	w := three(t)
	if got := w.ip(); got.Items != 6 || got.Replicas != 3 || got.Acquired != 6 || got.Unheld != 0 || got.Missing != 0 {
		t.Errorf("%+v", got)
	}
	if code, reasons := w.status().Check(); code != api.CheckOK {
		t.Errorf("%d %q", code, reasons)
	}
	w.down("n3") // has copies alone
	if got := w.ip(); got.Unheld != 0 || got.Missing != 2 {
		t.Errorf("%+v", got)
	}
	wantAlarm(t, w.status(), api.Warning, "lacks a copy (replica 2): n3 is down", "start flip on n3")
	if code, reasons := w.status().Check(); code != api.CheckDegraded || !slices.Contains(reasons, "ip: 2 copies without a holder") {
		t.Errorf("%d %q", code, reasons)
	}
	w.down("n2") // has b itself
	if got := w.ip(); got.Unheld != 1 || got.Missing != 3 {
		t.Errorf("%+v", got)
	}
	if code, reasons := w.status().Check(); code != api.CheckBroken {
		t.Errorf("%d %q", code, reasons)
	}
}

// What never had an owner has no slot, and counts all the same.
func TestCopiesThatWereNeverGiven(t *testing.T) {
	w := three(t)
	sp := *w.s.Spec()
	ip := sp.Systems["ip"]
	ip.Items = append(slices.Clone(ip.Items), fsm.Item{ID: "c"})
	sp.Systems = map[fsm.SystemID]fsm.System{"ip": ip}
	w.do(fsm.SetSpec{Was: sp.Version, Spec: sp})
	if got := w.ip(); got.Items != 9 || got.Unheld != 1 || got.Missing != 2 {
		t.Errorf("%+v", got)
	}
}

// braked is a world in which two of the three servers were lost at once.
func braked(t *testing.T) *world {
	w := three(t)
	for _, m := range []fsm.MemberID{"n1", "n2"} {
		mem, _ := w.s.Member(m)
		w.do(fsm.Down{Member: m, Epoch: mem.Epoch, Voters: w.s.Voters().Index, At: 1_000_000})
	}
	return w
}

func TestABrakedSystem(t *testing.T) {
	w := braked(t)
	const words = "system ip is braked: n1, n2 were lost at once, more than half of its servers, so nothing of it is moved"
	st := w.status()
	if len(st.Brakes) != 1 || st.Brakes[0].Words != words || st.Brakes[0].AtMS != 1_000_000 || !w.ip().Braked {
		t.Errorf("%+v", st.Brakes)
	}
	wantAlarm(t, st, api.Warning, words, "`flip cleanup ip`")
	wantAlarm(t, st, api.Critical, "has no holder: n1 is down, and "+words, "`flip cleanup ip`")
	if r := w.row("ip", "a"); r.State != api.RowWaiting || r.Braked != words || !strings.HasSuffix(r.Do, "or start flip on n1") {
		t.Errorf("%+v", r)
	}
	if _, reasons := st.Check(); !slices.Contains(reasons, "ip is braked") || !slices.Contains(reasons, "failover impossible") {
		t.Errorf("%q", reasons)
	}
	if why := st.Cluster.Failover.Why; !slices.Contains(why, "system ip is braked: nothing of it is moved") {
		t.Errorf("%q", why)
	}
	w.do(fsm.Cleanup{System: "ip"})
	if st := w.status(); len(st.Brakes) > 0 || w.ip().Braked || w.row("ip", "a").Braked != "" {
		t.Errorf("%+v", st.Brakes)
	}
	noAlarm(t, w.status(), "braked")
}

// What a brake says of rows the watchers are told, too.
func TestABrakeIsWatched(t *testing.T) {
	w := three(t)
	was, since := w.s, w.at
	for _, m := range []fsm.MemberID{"n1", "n2"} {
		mem, _ := w.s.Member(m)
		w.do(fsm.Down{Member: m, Epoch: mem.Epoch, Voters: w.s.Voters().Index, At: 1_000_000})
	}
	events, ok := eventsBetween(was, since, w.s, w.at, 1000)
	if !ok || !slices.ContainsFunc(events, func(e api.Event) bool {
		return e.Kind == fsm.KindBraked && e.System == "ip" && strings.HasPrefix(e.Words, "braked: n1, n2, of 3 members")
	}) {
		t.Errorf("%v %+v", ok, events)
	}
	was, since = w.s, w.at
	w.do(fsm.Cleanup{System: "ip"})
	events, _ = eventsBetween(was, since, w.s, w.at, 1000)
	rows := 0
	for _, e := range events {
		if e.Slot != nil {
			rows++
		}
		if e.Kind == fsm.KindCleaned && e.Words != "it is moved again" {
			t.Errorf("%+v", e)
		}
	}
	if rows != 6 {
		t.Errorf("%d rows in %+v", rows, events)
	}
}

// An item that fails again where it has just been moved to stays there.
func TestABrakedItem(t *testing.T) {
	w := three(t)
	fail := func(on fsm.MemberID, at int64) {
		t.Helper()
		slot, _ := w.s.Slot(fsm.Key{System: "ip", Item: "a"})
		m, _ := w.s.Member(on)
		w.do(fsm.Report{Member: on, Epoch: m.Epoch, At: at, Failed: []fsm.Failure{{Key: slot.Key, Token: slot.Token, Err: "exit status 1"}}})
	}
	fail("n1", 1_000_000)
	slot, _ := w.s.Slot(fsm.Key{System: "ip", Item: "a"})
	copied, _ := w.s.Slot(fsm.Key{System: "ip", Item: "a", Rank: 1})
	w.do(fsm.Assign{At: 1_001_000, Moves: []fsm.Move{
		{Key: copied.Key, Was: copied.Token, Cause: fsm.CauseRule},
		{Key: slot.Key, Was: slot.Token, To: "n2", Cause: fsm.CauseFailed},
	}})
	noAlarm(t, w.status(), "is braked")
	fail("n2", 1_002_000)
	wantAlarm(t, w.status(), api.Warning, "ip/a is braked: it failed on n2 too", "`flip cleanup ip a`")
	if got := w.ip(); got.BrakedItems != 1 || got.Braked {
		t.Errorf("%+v", got)
	}
	if _, reasons := w.status().Check(); !slices.Contains(reasons, "ip: 1 items are braked") {
		t.Errorf("%q", reasons)
	}
	if r := w.row("ip", "a"); !strings.HasPrefix(r.Braked, "it failed on n2 too") {
		t.Errorf("%+v", r)
	}
}

func TestAnItemThatGoesToAndFro(t *testing.T) {
	w := running(t)
	for i, to := range []fsm.MemberID{"n2", "n1", "n2"} {
		slot, _ := w.s.Slot(fsm.Key{System: "ip", Item: "a"})
		w.do(fsm.Assign{At: 1_000_000 + int64(i)*1000, Moves: []fsm.Move{{Key: slot.Key, Was: slot.Token, To: to, Cause: fsm.CauseHome}}})
	}
	for unix, want := range map[int64]bool{1_003_000: true, 1_179_000: true, 1_181_000: false, 0: false} {
		l := w.local()
		l.Unix = unix
		st := Compose(l, w.s, w.at)
		if want {
			wantAlarm(t, st, api.Warning, "ip/a has moved 3 times within 3m0s and stays", "`flip why ip a`")
		} else {
			noAlarm(t, st, "has moved 3 times")
		}
	}
}

func TestOutlook(t *testing.T) {
	w := three(t)
	l := w.local()
	l.Outlook = &Outlook{
		Held: func(yield func(api.HeldMove) bool) {
			for range 2 * api.MostShown {
				if !yield(api.HeldMove{System: "ip", Item: "a", From: "n1", To: "n2", Why: "later"}) {
					return
				}
			}
		},
		Unplaced: slices.Values([]api.Unplaced{
			{System: "ip", Item: "z", Why: "no room"}, {System: "ip", Item: "y", Why: "no room"}, {System: "ip", Item: "a", Rank: 3, Why: "3 servers"},
		}),
	}
	st := Compose(l, w.s, w.at)
	if ip := st.Systems[0]; len(st.Held) != api.MostShown || len(st.Unplaced) != 3 || *ip.Held != 2*api.MostShown || *ip.Unplaced != 3 {
		t.Errorf("%d, %d: %+v", len(st.Held), len(st.Unplaced), ip)
	}
	wantAlarm(t, st, api.Critical, "ip/z and 1 more of system ip has no holder: no room", "`flip why ip z`")
	wantAlarm(t, st, api.Warning, "ip/a lacks a copy (replica 3): 3 servers", "`flip why ip a`")
	// What has an owner, who is down, is told of once.
	w.down("n1")
	l = w.local()
	l.Outlook = &Outlook{Held: slices.Values([]api.HeldMove(nil)), Unplaced: slices.Values([]api.Unplaced{{System: "ip", Item: "a", Why: "no room"}})}
	st = Compose(l, w.s, w.at)
	wantAlarm(t, st, api.Critical, "ip/a has no holder: n1 is down", "start flip on n1")
	noAlarm(t, st, "no room")
	if st := w.status(); st.Systems[0].Held != nil || st.Systems[0].Unplaced != nil {
		t.Error("it is told although it is not known")
	}
}
