package main

import (
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/actions/doctor"
	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/liveness/udp"
)

func TestFindingsShown(t *testing.T) {
	found := []doctor.Finding{
		{Check: "daemon", Verdict: doctor.OK, Found: "n1 answers"},
		{Check: "clock", On: "n2", Verdict: doctor.Warn, Found: "3 s behind", Do: "set both by NTP"},
		{Check: "guard", Verdict: doctor.Bad, Found: "none\truns", Do: "start it"},
		{Check: "unit", Verdict: doctor.Skip, Found: "no systemd"},
	}
	for colour, want := range map[painter]string{
		false: "OK    daemon    n1 answers\nWARN  clock n2  3 s behind\n      do: set both by NTP\n" +
			"BAD   guard     none runs\n      do: start it\nSKIP  unit      no systemd\n\nSomething is to do: 1 bad, 1 warning, 1 skipped.\n",
		true: "OK    daemon    n1 answers\n\x1b[33mWARN  clock n2  3 s behind\x1b[0m\n      do: set both by NTP\n" +
			"\x1b[31mBAD   guard     none runs\x1b[0m\n      do: start it\nSKIP  unit      no systemd\n\nSomething is to do: 1 bad, 1 warning, 1 skipped.\n",
	} {
		var b strings.Builder
		writeFindings(&b, colour, found)
		if b.String() != want {
			t.Errorf("got\n%q\nwant\n%q", b.String(), want)
		}
	}
	if got := summary(found[:1]); got != "Nothing is to do." {
		t.Errorf("all well: %s", got)
	}
	if got := summary(found[3:]); got != "Nothing is to do: 1 skipped." {
		t.Errorf("skipped: %s", got)
	}
}

func TestMemberSeen(t *testing.T) {
	trip, loss, from, clock := int64(1500), 0.25, 0.5, int64(-2_000_000)
	m := memberSeen(api.DoctorPeer{
		Name: "n2", Address: "a:1", TCP: api.Finding{Code: api.FindOK}, UDP: api.Finding{Code: api.FindKey, Detail: "sealed"},
		RoundTripUS: &trip, Loss: &loss, LossFrom: &from, ClockUS: &clock, ClockWithinUS: 7,
	})
	if m.Name != "n2" || m.Addr != "a:1" || *m.TCP != "" || *m.UDP != "another key: sealed" || *m.RoundTrip != 1500*time.Microsecond ||
		*m.Loss != loss || *m.LossFrom != from || *m.Clock != -2*time.Second || m.Within != 7*time.Microsecond {
		t.Errorf("%+v", m)
	}
	if m := memberSeen(api.DoctorPeer{}); m.TCP != nil || m.UDP != nil || m.RoundTrip != nil || m.Loss != nil || m.Clock != nil {
		t.Errorf("of nothing: %+v", m)
	}
}

func TestMeasuredWay(t *testing.T) {
	us := func(n int64) *int64 { return &n }
	share := func(x float64) *float64 { return &x }
	for _, tt := range []struct {
		s    udp.PeerStats
		want api.DoctorPeer
	}{
		{udp.PeerStats{Loss: -1, LossFrom: -1}, api.DoctorPeer{}},
		{udp.PeerStats{RTT: 300, Loss: 0, LossFrom: 0.5}, api.DoctorPeer{RoundTripUS: us(1), Loss: share(0), LossFrom: share(0.5)}},
		{udp.PeerStats{RTT: time.Millisecond, Loss: 1, LossFrom: -1}, api.DoctorPeer{RoundTripUS: us(1000), Loss: share(1)}},
	} {
		var p api.DoctorPeer
		seenWay(&p, tt.s)
		if !reflect.DeepEqual(p, tt.want) {
			t.Errorf("%+v gives %+v", tt.s, p)
		}
	}
}

func TestConnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if got := connect(context.Background(), l.Addr().String()); *got != "" {
		t.Errorf("a port that listens: %s", *got)
	}
	_ = l.Close()
	if got := connect(context.Background(), l.Addr().String()); !strings.Contains(*got, "refused") {
		t.Errorf("a closed port: %s", *got)
	}
}

// The gate that is tried must leave nothing where this process is.
func TestTryGate(t *testing.T) {
	_, err := tryGate()
	if errors.Is(err, unix.EPERM) {
		t.Skip("takes root:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	all, err := doctor.ReadRuleset("")
	if err != nil {
		t.Fatal(err)
	}
	if others, err := doctor.ReadRuleset("flip-doctor"); err != nil || others.Tables != all.Tables {
		t.Errorf("a table was left here: %+v, without it %+v, %v", all, others, err)
	}
}

func TestWeighty(t *testing.T) {
	for key, want := range map[string]bool{"key": true, "servers": true, "cluster.system.a.takeover_after": true, "quorum": false, "ping_per_interval": false} {
		if weighty(key) != want {
			t.Errorf("%s: %t", key, !want)
		}
	}
}
