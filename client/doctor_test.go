package client

import (
	"context"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	addr, _, conns, keys := member(t)
	p := peersOf(t, keys)
	ahead, within, err := p.Clock(context.Background(), Target{Addr: addr, Name: "n2"})
	if err != nil || within <= 0 || within > time.Second || ahead.Abs() > within+time.Microsecond {
		t.Errorf("the same clock is %v ahead, give or take %v, %v", ahead, within, err)
	}
	if got := conns.Load(); got != 1 {
		t.Errorf("%d connections", got)
	}
	if _, _, err := p.Clock(context.Background(), Target{Addr: addr, Name: "n3"}); err == nil {
		t.Error("the time of another member was taken")
	}
}

func TestDoctor(t *testing.T) {
	if _, err := local(t).Doctor(context.Background()); err == nil {
		t.Error("a daemon without a doctor has answered")
	}
}
