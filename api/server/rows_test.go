package server

import (
	"slices"
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

func TestRowStates(t *testing.T) {
	const key = "x"
	tests := []struct {
		name      string
		do        func(w *world)
		sys       fsm.SystemID
		item      fsm.ItemID
		state     string
		owner     fsm.MemberID
		why, what string // parts of Why and Do
	}{
		{"acquired", func(*world) {}, "ip", "a", api.RowAcquired, "n1", "", ""},
		{"replicated", func(*world) {}, "log", "l", api.RowReplicated, "n1", "", ""},
		{"not yet reported", func(w *world) { w.move("ip", "a", "n2") }, "ip", "a", api.RowStarting, "n2", "has not reported", ""},
		{"given to nobody", func(w *world) { w.move("ip", "a", "") }, "ip", "a", api.RowNobody, "", "nobody", "start a server of system ip"},
		{"owner down, nobody else", func(w *world) { w.down("n1") }, "ip", "a", api.RowWaiting, "n1", "n1 is down", "start flip on n1"},
		{"at-most-one hook of a dead holder", func(w *world) {
			slot, _ := w.s.Slot(fsm.Key{System: "one", Item: key})
			w.down("n1", fsm.Move{Key: slot.Key, Was: slot.Token, To: "n2", Reason: "n1 is down"})
		}, "one", key, api.RowWaiting, "n2", "n1 (epoch 3) is down and may still hold it", "start flip on n1 again"},
		{"at-most-one of a live holder", func(w *world) { w.move("one", key, "n2") }, "one", key, api.RowWaiting, "n2", "n1 runs and is letting go", "look at the log of flip on n1"},
		{"came back, not reported in its new epoch", func(w *world) { w.down("n1"); w.register("n1") }, "ip", "a", api.RowStarting, "n1", "has not reported", ""},
		{"hook failed", func(w *world) {
			w.move("ip", "a", "n2")
			slot, _ := w.s.Slot(fsm.Key{System: "ip", Item: "a"})
			m, _ := w.s.Member("n2")
			w.do(fsm.Report{Member: "n2", Epoch: m.Epoch, Failed: []fsm.Failure{{Key: slot.Key, Token: slot.Token, Err: "exit status 7"}}})
		}, "ip", "a", api.RowStarting, "n2", "exit status 7", "log of flip on n2"},
		{"removed from the configuration", func(w *world) {
			sp := spec()
			ip := sp.Systems["ip"]
			ip.Items = ip.Items[1:]
			sp.Systems["ip"] = ip
			w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: sp})
		}, "ip", "a", api.RowRemoved, "", "no longer in the configuration", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := running(t)
			tt.do(w)
			r := w.row(tt.sys, tt.item)
			if r.State != tt.state || r.Owner != tt.owner {
				t.Errorf("%s of %q, want %s of %q", r.State, r.Owner, tt.state, tt.owner)
			}
			if !strings.Contains(r.Why, tt.why) || (tt.why == "") != (r.Why == "") {
				t.Errorf("why %q, want %q in it", r.Why, tt.why)
			}
			if !strings.Contains(r.Do, tt.what) {
				t.Errorf("do %q, want %q in it", r.Do, tt.what)
			}
		})
	}
}

func TestOutstandingOfAnotherMachine(t *testing.T) {
	w := running(t)
	old, _ := w.s.Member("n1")
	w.do(fsm.Register{Member: "n1", Nonce: fsm.Nonce{9}, Process: fsm.Nonce{9}, Replaces: old.Epoch, Host: fsm.Host{Machine: "new", Boot: "b", Instance: "j"}})
	r := w.row("one", "x")
	if len(r.Outstanding) != 1 || !r.Outstanding[0].Blocks || !strings.Contains(r.Outstanding[0].Why, "former machine of n1 (m-n1") {
		t.Errorf("outstanding %+v", r.Outstanding)
	}
	if r.State != api.RowWaiting {
		t.Errorf("state %s, want waiting", r.State)
	}
	// The at-least-one item of the same member waits for nobody.
	if r := w.row("ip", "a"); r.State != api.RowStarting {
		t.Errorf("at-least-one: %+v", r)
	}
}

func TestAssignmentsOrderAndFilter(t *testing.T) {
	w := running(t)
	var got []string
	for _, r := range Assignments(w.s, api.Stamp{}, "").Rows {
		got = append(got, string(r.System)+"/"+string(r.Item)+"="+string(r.Owner))
	}
	want := []string{"ip/a=n1", "ip/b=n2", "log/l=n1", "log/l=n2", "one/x=n1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if rows := Assignments(w.s, api.Stamp{}, "one").Rows; len(rows) != 1 {
		t.Errorf("filtered: %+v", rows)
	}
}

func TestAssignmentsBeforeFounding(t *testing.T) {
	as := Assignments(fsm.New(), api.Stamp{}, "")
	if as.Rows == nil || as.Members == nil || len(as.Rows) != 0 {
		t.Errorf("got %+v, want empty lists that are not null", as)
	}
}
