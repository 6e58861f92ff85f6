package doctor

import (
	"context"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestJudgeWakeUps(t *testing.T) {
	ms := time.Millisecond
	for _, tt := range []struct {
		p99, max time.Duration
		real     bool
		t        Timing
		want     Verdict
		words    string
	}{
		{ms, 2 * ms, true, lan, OK, "as the daemon"},
		{51 * ms, 60 * ms, false, lan, Warn, "CPUSchedulingPolicy=rr"},
		{ms, 101 * ms, true, lan, Warn, "steal"},
		{101 * ms, 101 * ms, true, lan, Bad, "leases end by themselves"},
		{11 * ms, 12 * ms, false, fast, Warn, "ordinary"},
		{101 * ms, 101 * ms, false, wan, OK, "200"},
	} {
		is(t, judgeWakeUps(spread{200, tt.p99, tt.p99, tt.max}, tt.real, tt.t), tt.want, tt.words)
	}
}

func TestMeasureWakeUps(t *testing.T) {
	late, _, err := measureWakeUps(context.Background(), 20, time.Millisecond, 10)
	if err != nil || len(late) != 20 {
		t.Fatalf("%d wake-ups, %v", len(late), err)
	}
	for _, d := range late {
		if d < 0 {
			t.Errorf("woken %v too soon", -d)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	is(t, WakeUps(ctx, 0, lan), Skip, "canceled")
}

func TestFavour(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	policy := func() uint32 {
		attr, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return attr.Policy
	}
	before := policy()
	done, back := favour(10)
	if want := map[bool]uint32{true: schedRR, false: before}[done]; policy() != want {
		t.Errorf("favoured %t, policy %d", done, policy())
	}
	back()
	if policy() != before {
		t.Errorf("policy %d afterwards, %d before", policy(), before)
	}
	if done, back := favour(0); done || policy() != before {
		t.Error("favoured without a priority")
		back()
	}
}
