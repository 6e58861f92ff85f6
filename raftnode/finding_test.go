package raftnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

func TestUnreached(t *testing.T) {
	s := fsm.Server{Name: "n2", Addr: "10.0.0.2:2201"}
	tests := []struct {
		err  error
		want Trouble
		hint string
	}{
		{syscall.ECONNREFUSED, TroubleRefused, "running"},
		{context.DeadlineExceeded, TroubleSilent, "TCP and UDP on 2201"},
		{os.ErrDeadlineExceeded, TroubleSilent, "TCP and UDP on 2201"},
		{syscall.EHOSTUNREACH, TroubleSilent, "2201"},
		{&net.DNSError{Err: "no such host", Name: "n2"}, TroubleName, "IP address"},
		{errors.New("something else"), TroubleOther, ""},
	}
	for _, tt := range tests {
		f := unreached(s, fmt.Errorf("dial n2: %w", tt.err))
		if f.Trouble != tt.want || !strings.Contains(f.Hint, tt.hint) || !strings.Contains(f.Words, "n2") || f.Hello != nil {
			t.Errorf("%v: %+v", tt.err, f)
		}
	}
}

func TestJudge(t *testing.T) {
	s := fsm.Server{Name: "n2", Addr: "10.0.0.2:2201"}
	mine := Hello{Name: "n1", Wire: [2]uint16{2, 3}, Cluster: "aaa", Voters: [32]byte{1}, VoterList: []string{"n1 x"}}
	same := mine
	same.Name = "n2"
	with := func(change func(*Hello)) Hello {
		h := same
		change(&h)
		return h
	}
	tests := []struct {
		name   string
		theirs Hello
		want   Trouble
		words  []string
	}{
		{"same", same, TroubleNone, []string{"n2"}},
		{"empty", with(func(h *Hello) { h.Cluster = "" }), TroubleNone, nil},
		{"another name", with(func(h *Hello) { h.Name = "n3" }), TroubleOther, []string{"n3", "n2"}},
		{"newer wire", with(func(h *Hello) { h.Wire = [2]uint16{4, 5} }), TroubleWire, []string{"4 to 5", "2 to 3"}},
		{"older wire", with(func(h *Hello) { h.Wire = [2]uint16{1, 1} }), TroubleWire, []string{"1 to 1"}},
		{"wire in common", with(func(h *Hello) { h.Wire = [2]uint16{3, 9} }), TroubleNone, nil},
		{"another cluster", with(func(h *Hello) { h.Cluster = "bbb" }), TroubleCluster, []string{"aaa", "bbb"}},
		{"another list, and of this cluster: a moment ahead", with(func(h *Hello) { h.Voters = [32]byte{2}; h.VoterList = []string{"n9 y"} }), TroubleNone, nil},
		{"another list", with(func(h *Hello) { h.Cluster = ""; h.Voters = [32]byte{2}; h.VoterList = []string{"n9 y"} }), TroubleVoters, []string{"n1 x", "n9 y"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := judge(mine, tt.theirs, s)
			if f.Trouble != tt.want || f.Hello == nil || (f.Hint == "") != (tt.want == TroubleNone) {
				t.Errorf("%+v", f)
			}
			for _, w := range tt.words {
				if !strings.Contains(f.Words, w) {
					t.Errorf("%q is not in %q", w, f.Words)
				}
			}
		})
	}
}

func TestAcquaintances(t *testing.T) {
	at := time.Now()
	f := func(trouble Trouble, instance string) Finding {
		at = at.Add(time.Second)
		out := Finding{Name: "n2", Trouble: trouble, At: at}
		if instance != "" {
			out.Hello = &Hello{Name: "n2", Instance: instance}
		}
		return out
	}
	a := newAcquaintances()
	if !a.asked(f(TroubleSilent, "")) || a.asked(f(TroubleSilent, "")) {
		t.Error("the first one is news, the same again is not")
	}
	if !a.came(f(TroubleNone, "i1")) || a.came(f(TroubleNone, "i1")) {
		t.Error("that it came is news once")
	}
	if got := a.all(); len(got) != 1 || got[0].Trouble != TroubleSilent {
		t.Errorf("that it cannot be reached was forgotten: %+v", got)
	}
	if got := a.instances(); got["n2"] != "i1" {
		t.Errorf("%v", got)
	}
	a.asked(f(TroubleNone, "i1"))
	if !a.came(f(TroubleVoters, "i2")) {
		t.Error("another instance is news")
	}
	if got := a.all(); got[0].Trouble != TroubleVoters || a.instances()["n2"] != "i2" {
		t.Errorf("%+v", got)
	}
	a.asked(f(TroubleNone, "i3"))
	if got := a.instances(); got["n2"] != "i3" {
		t.Errorf("%v", got)
	}
}

func TestRaftsLogIsQuieter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		l := hcLogger(zerolog.New(&buf).Level(zerolog.DebugLevel)).Named("x")
		l.Info("entering", "node", hclog.Fmt("%s-%d", "n", 1), "peer", fsm.Down{}, "odd")
		if got := buf.String(); !strings.Contains(got, `"level":"debug"`) || !strings.Contains(got, `"node":"n-1"`) || !strings.Contains(got, "entering") {
			t.Error(got)
		}
		buf.Reset()
		l.Debug("chatter")
		if buf.Len() > 0 {
			t.Error(buf.String())
		}
		for range 5 {
			l.Error("failed to heartbeat to", "peer", "n2", "error", errors.New("no"))
		}
		l.Error("failed to heartbeat to", "peer", "n3")
		if n := strings.Count(buf.String(), `"level":"warn"`); n != 2 {
			t.Errorf("%d warnings: %s", n, buf.String())
		}
		time.Sleep(repeatAfter)
		l.Error("failed to heartbeat to", "peer", "n2")
		if n := strings.Count(buf.String(), `"level":"warn"`); n != 3 {
			t.Errorf("%d warnings", n)
		}
		for i := range 2000 {
			l.Error("failed", "peer", i)
		}
		if !strings.Contains(buf.String(), `"peer":"1999"`) {
			t.Error("the last one was not said")
		}
	})
}
