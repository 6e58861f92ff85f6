package wake

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A pulse wakes who waits when it is fired, and nobody who asks later.
func TestPulse(t *testing.T) {
	var p Pulse
	p.Fire() // nobody waits
	a, b := p.Next(), p.Next()
	select {
	case <-a:
		t.Error("woken by what was before")
	default:
	}
	p.Fire()
	<-a
	<-b
	select {
	case <-p.Next():
		t.Error("who asks later is woken too")
	default:
	}
}

// A pause ends with its time, with each of its channels, and with the context.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !Pause(t.Context(), time.Second, nil, nil, nil) || time.Since(began) != time.Second {
			t.Errorf("it took %v", time.Since(began))
		}
		for i := range 3 {
			on := [3]chan struct{}{}
			on[i] = make(chan struct{}, 1)
			Signal(on[i])
			Signal(on[i])
			began = time.Now()
			if !Pause(t.Context(), time.Second, on[0], on[1], on[2]) || time.Since(began) != 0 {
				t.Errorf("channel %d: it took %v", i, time.Since(began))
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if Pause(ctx, time.Second, nil, nil, nil) {
			t.Error("it goes on although it was cancelled")
		}
	})
}
