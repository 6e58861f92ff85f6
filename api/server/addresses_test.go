package server

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// withAddresses is a world with one system of addresses, a with n1 and b with n2,
// on members with the kernel gate or without.
func withAddresses(t *testing.T, gate bool, edit ...func(*fsm.System)) *world {
	sp := spec()
	vip := fsm.System{
		Name: "vip", Split: fsm.Shard, Guarantee: fsm.AtMostOne, Action: fsm.ActionIP, IP: &fsm.IP{},
		Items: []fsm.Item{{ID: "a", Addrs: []string{"10.0.0.5/32"}}, {ID: "b", Addrs: []string{"10.0.0.6/32"}}},
	}
	for _, e := range edit {
		e(&vip)
	}
	sp.Systems = map[fsm.SystemID]fsm.System{"vip": vip}
	for n, s := range sp.Servers {
		if len(s.Systems) > 0 {
			s.Systems = []fsm.SystemID{"vip"}
			sp.Servers[n] = s
		}
	}
	w := &world{t: t, s: fsm.New()}
	w.voters("n1/i", "n2/i", "n3/i")
	w.do(fsm.SetSpec{Cluster: "c1", Spec: sp})
	for _, n := range []fsm.MemberID{"n1", "n2", "n3"} {
		w.registerGate(n, gate)
	}
	for item, to := range map[fsm.ItemID]fsm.MemberID{"a": "n1", "b": "n2"} {
		w.move("vip", item, to)
		w.acquired("vip", item)
	}
	return w
}

func (w *world) registerGate(n fsm.MemberID, gate bool) {
	m, _ := w.s.Member(n)
	nonce := fsm.Nonce{byte(w.at), n[1]}
	w.do(fsm.Register{Member: n, Nonce: nonce, Process: nonce, Replaces: m.Epoch, Gate: gate, Host: fsm.Host{Machine: "m-" + string(n), Boot: "b", Instance: "i"}})
}

func (w *world) crash(n fsm.MemberID, item fsm.ItemID, to fsm.MemberID) {
	slot, _ := w.s.Slot(fsm.Key{System: "vip", Item: item})
	w.down(n, fsm.Move{Key: slot.Key, Was: slot.Token, To: to, Reason: string(n) + " is down"})
}

func (w *world) see(by fsm.MemberID, item fsm.ItemID, ok bool, answer string) {
	m, _ := w.s.Member(by)
	slot, _ := w.s.Slot(fsm.Key{System: "vip", Item: item})
	w.do(fsm.Report{Member: by, Epoch: m.Epoch, Seen: []fsm.Sighting{{Key: slot.Key, Token: slot.Token, OK: ok, Answer: answer}}})
}

func noGate(s *fsm.System)     { s.IP = &fsm.IP{NoGate: true} }
func never(s *fsm.System)      { s.TakeoverAfter = fsm.NeverTakeOver }
func atLeastOne(s *fsm.System) { s.Guarantee = fsm.AtLeastOne }
func tenSeconds(s *fsm.System) { s.TakeoverAfter = 10 * time.Second }
func (w *world) atMostOne() {
	sp := *w.s.Spec()
	vip := sp.Systems["vip"]
	vip.Guarantee = fsm.AtMostOne
	sp.Systems = map[fsm.SystemID]fsm.System{"vip": vip}
	w.do(fsm.SetSpec{Was: sp.Version, Spec: sp})
}

func TestRowsOfAddresses(t *testing.T) {
	const key = fsm.ItemID("a")
	for _, tt := range []struct {
		name  string
		gate  bool
		edit  []func(*fsm.System)
		do    func(w *world)
		state string
		why   string
		help  string
	}{
		{"gated: nobody waits", true, nil, func(w *world) { w.crash("n1", key, "n2") }, api.RowStarting, "n2 has not reported it yet", ""},
		{"a bet", false, nil, func(w *world) { w.crash("n1", key, "n2") }, api.RowWaiting, "waits for n1's address lifetime, at most 3.9 s from its Down", "nothing to do"},
		{"a longer bet", false, []func(*fsm.System){tenSeconds}, func(w *world) { w.crash("n1", key, "n2") }, api.RowWaiting, "at most 10 s from its Down", "nothing to do"},
		{"the gate is off", true, []func(*fsm.System){noGate}, func(w *world) { w.crash("n1", key, "n2") }, api.RowWaiting, "at most 3.9 s from its Down", "nothing to do"},
		{"never", false, []func(*fsm.System){never}, func(w *world) { w.crash("n1", key, "n2") }, api.RowWaiting, "takeover_after is never", "start flip on n1 again"},
		{"held as at-least-one", false, []func(*fsm.System){atLeastOne}, func(w *world) { w.atMostOne(); w.crash("n1", key, "n2") }, api.RowWaiting, "held it as at-least-one", "start flip on n1 again"},
		{"a live holder", false, nil, func(w *world) { w.move("vip", key, "n2") }, api.RowWaiting, "n1 runs and is letting go of it", "log of flip on n1"},
		{"the former machine lives on", false, nil, func(w *world) {
			w.move("vip", key, "n2")
			m, _ := w.s.Member("n1")
			w.do(fsm.Register{Member: "n1", Nonce: fsm.Nonce{9}, Process: fsm.Nonce{9}, Replaces: m.Epoch, Host: fsm.Host{Machine: "new", Boot: "b", Instance: "j"}})
		}, api.RowWaiting, "the former machine of n1 (m-n1) may still hold it", "nothing to do"},
		{"the bet is won", false, nil, func(w *world) { w.crash("n1", key, "n2"); w.acquired("vip", key) }, api.RowAcquired, "", ""},
		{"unfit", true, nil, func(w *world) { w.unfit("n1", key) }, api.RowStarting, "n1 cannot hold it: eth0 has no carrier", "looks again by itself"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := withAddresses(t, tt.gate, tt.edit...)
			tt.do(w)
			r := w.row("vip", key)
			if r.State != tt.state || !strings.Contains(r.Why, tt.why) || (tt.why == "") != (r.Why == "") || !strings.Contains(r.Do, tt.help) {
				t.Errorf("%s, %q, %q; want %s, %q, %q", r.State, r.Why, r.Do, tt.state, tt.why, tt.help)
			}
			for _, o := range r.Outstanding {
				if o.Blocks != (tt.state == api.RowWaiting) {
					t.Errorf("%+v", o)
				}
			}
		})
	}
}

// unfit says that a member gave an item up and cannot hold it.
func (w *world) unfit(n fsm.MemberID, items ...fsm.ItemID) {
	w.t.Helper()
	for _, item := range items {
		w.move("vip", item, "n2")
		w.move("vip", item, n)
		slot, _ := w.s.Slot(fsm.Key{System: "vip", Item: item})
		var claims []fsm.Claim
		for _, e := range slot.Outstanding {
			claims = append(claims, fsm.Claim{Key: slot.Key, Member: e.Member, Epoch: e.Epoch, Token: e.Token})
		}
		for _, c := range claims {
			m, _ := w.s.Member(c.Member)
			w.do(fsm.Report{Member: c.Member, Epoch: m.Epoch, Released: []fsm.Claim{c}})
		}
		m, _ := w.s.Member(n)
		w.do(fsm.Report{Member: n, Epoch: m.Epoch, Failed: []fsm.Failure{{Key: slot.Key, Token: slot.Token, Err: "eth0 has no carrier"}}})
	}
}

func TestAlarmsOfAddresses(t *testing.T) {
	w := withAddresses(t, true)
	if st := w.status(); len(st.Alarms) != 0 || !st.Members[0].Gate || st.Systems[0].Action != "ip" {
		t.Fatalf("all is well: %+v", st.Alarms)
	}
	w.unfit("n1", "a", "b")
	wantAlarm(t, w.status(), api.Warning, "vip/a and 1 more of system vip cannot be held on n1: eth0 has no carrier", "looks again by itself")

	w = withAddresses(t, false)
	wantAlarm(t, w.status(), api.Note, "n2 has no kernel gate: takeovers of its addresses wait 3.9 s", "`flip status` on n2")
	l := w.local()
	l.Node.Gate = api.Gate{State: api.GateNone, Why: "no nf_tables in this kernel"}
	wantAlarm(t, Compose(l, w.s, w.at), api.Note, "n2 has no kernel gate (no nf_tables in this kernel): takeovers", "")
	for _, a := range w.status().Alarms {
		if strings.Contains(a.What, "n3") {
			t.Errorf("n3 serves nothing: %+v", a)
		}
	}
	w.crash("n1", "a", "n2")
	wantAlarm(t, w.status(), api.Critical, "vip/a has no holder: waits for n1's address lifetime, at most 3.9 s from its Down", "nothing to do")

	wantAlarm(t, withAddresses(t, false, never).status(), api.Note, "n1 has no kernel gate: takeovers of its addresses wait until it is back", "")
	off := withAddresses(t, false, noGate).status()
	wantAlarm(t, off, api.Note, "the kernel gate is off for system vip: takeovers of its addresses wait 3.9 s", "nothing, if that is meant")
	if slices.ContainsFunc(off.Alarms, func(a api.Alarm) bool { return strings.Contains(a.What, "has no kernel gate") }) {
		t.Errorf("said twice: %+v", off.Alarms)
	}
	if st := withAddresses(t, false, atLeastOne).status(); len(st.Alarms) != 0 {
		t.Errorf("at-least-one needs no gate: %+v", st.Alarms)
	}
}

func TestSeen(t *testing.T) {
	w := withAddresses(t, true)
	if r := w.row("vip", "a"); r.Seen != nil {
		t.Fatalf("%+v", r.Seen)
	}
	w.see("n2", "a", true, "")
	if r := w.row("vip", "a"); r.Seen == nil || !r.Seen.Verified || r.Seen.Words != "n2 asked on the wire, and n1 answers" {
		t.Fatalf("%+v", r.Seen)
	}
	if st := w.status(); len(st.Alarms) != 0 {
		t.Fatalf("%+v", st.Alarms)
	}
	w.see("n2", "a", false, "02:00:00:00:00:09 answers for 10.0.0.5: no member")
	wantAlarm(t, w.status(), api.Critical, "vip/a of n1: n2 asked on the wire: 02:00:00:00:00:09 answers for 10.0.0.5: no member", "find who else has the address")
	w.see("n3", "b", false, "")
	wantAlarm(t, w.status(), api.Critical, "vip/b of n2: n3 asked on the wire, and nobody answers", "the network between n3 and n2")
	w.move("vip", "a", "n2") // what was seen was of n1
	if r := w.row("vip", "a"); r.Seen != nil {
		t.Fatalf("%+v", r.Seen)
	}
}
