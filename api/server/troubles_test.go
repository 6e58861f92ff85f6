package server

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// hooked is a world whose at-most-one hook system is edited.
func hooked(t *testing.T, edit func(*fsm.System)) *world {
	w := running(t)
	sp := *w.s.Spec()
	one := sp.Systems["one"]
	edit(&one)
	sp.Systems = map[fsm.SystemID]fsm.System{"ip": sp.Systems["ip"], "log": sp.Systems["log"], "one": one}
	w.do(fsm.SetSpec{Was: sp.Version, Spec: sp})
	return w
}

func noAlarm(t *testing.T, st api.Status, what string) {
	t.Helper()
	if i := slices.IndexFunc(st.Alarms, func(a api.Alarm) bool { return strings.Contains(a.What, what) }); i >= 0 {
		t.Errorf("unwanted: %+v", st.Alarms[i])
	}
}

// With 1 s for stop_timeout and the lan preset: 1.1 x (50 ms + 100 ms + 2 x (2 s + 1 s) + 1 s).
func TestBetsOnHooks(t *testing.T) {
	const safe = 7975 * time.Millisecond
	bet := func(after time.Duration) func(*fsm.System) {
		return func(s *fsm.System) { s.StopTimeout, s.TakeoverAfter = time.Second, after }
	}
	of := func(w *world) api.System { return w.status().Systems[2] }
	if got := of(hooked(t, bet(0))).Takeover; got != nil {
		t.Errorf("nobody asked for a bet: %+v", got)
	}
	w := hooked(t, bet(safe))
	if got := of(w).Takeover; got == nil || got.MS != 7975 || got.SmallestSafeMS != 7975 || !strings.Contains(got.Words, "8 s") {
		t.Fatalf("%+v", got)
	}
	noAlarm(t, w.status(), "bets too soon")
	noAlarm(t, w.status(), "at-most-one with hooks")
	wantAlarm(t, hooked(t, bet(safe-time.Millisecond)).status(), api.Warning, "system one bets too soon: takeover_after is 8 s", "7975 or more")
	slot, _ := w.s.Slot(fsm.Key{System: "one", Item: "x"})
	w.down("n1", fsm.Move{Key: slot.Key, Was: slot.Token, To: "n2"})
	if r := w.row("one", "x"); r.State != api.RowWaiting || !strings.Contains(r.Why, "bets on n1's guard: taken over at most 8 s after its Down") || r.Do != "nothing to do: takeover_after says how long others wait" {
		t.Errorf("%+v", r)
	}
}

func TestBetsOnAddresses(t *testing.T) {
	if got := withAddresses(t, true).status().Systems[0].Takeover; got != nil {
		t.Errorf("with the gate nobody bets: %+v", got)
	}
	if got := withAddresses(t, false).status().Systems[0].Takeover; got == nil || got.MS != 3850 || got.SmallestSafeMS != 3850 {
		t.Errorf("%+v", got)
	}
	if got := withAddresses(t, false, tenSeconds).status().Systems[0].Takeover; got == nil || got.MS != 10_000 {
		t.Errorf("%+v", got)
	}
	for name, edit := range map[string]func(*fsm.System){"never": never, "at-least-one": atLeastOne, "fence": func(s *fsm.System) { s.Fence, s.FenceTimeout = "off", time.Minute }} {
		if got := withAddresses(t, false, edit).status().Systems[0].Takeover; got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestFenceInsteadOfWaiting(t *testing.T) {
	w := hooked(t, func(s *fsm.System) { s.Fence, s.FenceTimeout = "ipmi", time.Minute })
	noAlarm(t, w.status(), "at-most-one with hooks")
	if got := w.status().Systems[2].Fence; got != "ipmi" {
		t.Errorf("%q", got)
	}
	slot, _ := w.s.Slot(fsm.Key{System: "one", Item: "x"})
	w.down("n1", fsm.Move{Key: slot.Key, Was: slot.Token, To: "n2"})
	wantAlarm(t, w.status(), api.Critical, "until its fence (ipmi) has switched it off", "`flip item release one x --force`")
}

// What failed under an entry's own token is its `down`: the others see it too.
func TestAFailedDownIsSaidEverywhere(t *testing.T) {
	w := running(t)
	slot, _ := w.s.Slot(fsm.Key{System: "one", Item: "x"})
	w.move("one", "x", "n2")
	m, _ := w.s.Member("n1")
	w.do(fsm.Report{Member: "n1", Epoch: m.Epoch, Failed: []fsm.Failure{{Key: slot.Key, Token: slot.Token, Err: "down hook db failed: exit status 8"}}})
	wantAlarm(t, w.status(), api.Critical, "one/x has no holder: n1 runs and has not let go of it: it failed there: down hook db failed", "`flip item release one x --force`")
	wantAlarm(t, w.status(), api.Warning, "one/x: a hook failed on n1", "`flip cleanup one`")
	// What failed under a former token says nothing of this entry.
	w.move("one", "x", "n1")
	w.move("one", "x", "n2")
	outs := w.row("one", "x").Outstanding
	if last := outs[len(outs)-1]; last.Token == slot.Token || !strings.Contains(last.Why, "n1 runs and is letting go of it") {
		t.Errorf("%+v", last)
	}
}

func TestWithheldHere(t *testing.T) {
	w := running(t)
	l := w.local()
	l.Node.Withheld = []api.Withheld{{System: "one", Item: "x", Fails: 3, Error: "exit status 8"}, {System: "one", Item: "y'", Fails: 3, Error: "exit status 9"}}
	st := Compose(l, w.s, w.at)
	wantAlarm(t, st, api.Critical, "one/x is withheld: its `down` fails on n2: exit status 8", "`flip item release one x --force`")
	wantAlarm(t, st, api.Critical, "one/y' is withheld", `flip item release one 'y'\''' --force`)
	if code, reasons := st.Check(); code != api.CheckDegraded || !slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(r, "withheld") }) {
		t.Errorf("%d %q", code, reasons)
	}
}

func TestGuardThatIsNotThere(t *testing.T) {
	w := running(t)
	l := w.local()
	for state, want := range map[string]bool{"": false, api.GuardRunning: false, api.GuardNotNeeded: false, api.GuardNone: true} {
		l.Node.Guard = api.Guard{State: state, Why: "fork failed"}
		st := Compose(l, w.s, w.at)
		if want {
			wantAlarm(t, st, api.Warning, "no guard stands by here (fork failed): if this daemon is killed", "the log of flip on n2")
		} else {
			noAlarm(t, st, "guard stands by")
		}
	}
}

func TestTheWayToAMember(t *testing.T) {
	w := running(t)
	l := w.local()
	set := func(edit func(*Peer)) api.Status {
		p := l.Peers["n1"]
		edit(&p)
		l.Peers["n1"] = p
		return Compose(l, w.s, w.at)
	}
	n1 := set(func(*Peer) {}).Members[0]
	if n1.RTTUS != nil || n1.LossPermille != nil || n1.LossFromPermille != nil {
		t.Errorf("not measured: %+v", n1)
	}
	st := set(func(p *Peer) { p.RTT, p.Loss, p.LossFrom, p.Measured = 250*time.Nanosecond, 0.0494, -1, true })
	n1 = st.Members[0]
	if n1.RTTUS == nil || *n1.RTTUS != 1 || n1.LossPermille == nil || *n1.LossPermille != 49 || n1.LossFromPermille != nil {
		t.Errorf("%+v", n1)
	}
	noAlarm(t, st, "get lost")
	st = set(func(p *Peer) { p.Loss, p.LossFrom = 0.05, 0.2 })
	wantAlarm(t, st, api.Warning, "heartbeats get lost: 5.0 % to n1, 20.0 % from n1", "ip -s link")
	w.down("n1")
	noAlarm(t, set(func(p *Peer) { p.Loss = 1 }), "get lost")
}

func TestGateProtectionInWords(t *testing.T) {
	w := running(t)
	l := w.local()
	for want, g := range map[string]api.Gate{
		api.ProtectionOwned:   {State: api.GateOpen, Owned: true},
		api.ProtectionWatched: {State: api.GateShut},
		"":                    {State: api.GateNone},
	} {
		l.Node.Gate = g
		if got := Compose(l, w.s, w.at).Node.Gate.Protection; got != want {
			t.Errorf("%+v: %q", g, got)
		}
	}
}
