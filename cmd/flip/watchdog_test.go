package main

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
)

type dog struct {
	*watchdog
	barks atomic.Int32
	log   bytes.Buffer
}

func newDog(limit time.Duration) *dog {
	d := &dog{}
	d.watchdog = newWatchdog(limit, func(lines ...string) {
		if len(lines) == 1 && lines[0] == sd.SdNotifyWatchdog {
			d.barks.Add(1)
		}
	}, zerolog.New(&d.log))
	return d
}

// start runs the watchdog until the end of the test's bubble.
func (d *dog) start(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// during counts what systemd is told while d of virtual time passes.
func (d *dog) during(t time.Duration) int {
	before := d.barks.Load()
	time.Sleep(t)
	synctest.Wait()
	return int(d.barks.Load() - before)
}

// loop is a main loop that turns when it is asked to, as long as nobody holds it.
func (d *dog) main(t *testing.T, name string) (hold func() (letGo func())) {
	p, held := d.loop(name), make(chan chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-p.Due():
			case wait := <-held:
				<-wait
			}
			p.Turned()
		}
	}()
	return func() func() {
		wait := make(chan struct{})
		held <- wait
		return func() { close(wait) }
	}
}

// systemd hears a sign of life each round, until one loop of two hangs, and again
// once it turns.
func TestWatchdogSpeaksWhileAllLoopsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDog(8 * time.Second) // a round each 2 s
		d.main(t, "feed")
		hold := d.main(t, "executor")
		d.start(t)
		if n := d.during(21 * time.Second); n != 10 {
			t.Errorf("%d signs of life in 21 s, want 10", n)
		}
		letGo := hold()
		if n := d.during(20 * time.Second); n > 1 {
			t.Errorf("%d signs of life while a loop hangs", n)
		}
		if got := d.log.String(); strings.Count(got, `"loop":"executor"`) != 1 || strings.Contains(got, "feed") {
			t.Errorf("logged: %s", got)
		}
		letGo()
		if n := d.during(20 * time.Second); n < 9 {
			t.Errorf("%d signs of life in 20 s after it turns again", n)
		}
	})
}

// A loop that has ended in order is waited for no more, the others are.
func TestWatchdogAfterALoopHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDog(8 * time.Second)
		feed := d.loop("feed") // never turns
		hold := d.main(t, "executor")
		d.start(t)
		if n := d.during(9 * time.Second); n != 0 {
			t.Errorf("%d signs of life with a loop that never turns", n)
		}
		feed.Over()
		if n := d.during(8 * time.Second); n != 4 {
			t.Errorf("%d signs of life in 8 s after it has ended", n)
		}
		letGo := hold()
		if n := d.during(20 * time.Second); n > 1 {
			t.Errorf("%d signs of life while the other hangs", n)
		}
		letGo()
	})
}

// A hiccup shorter than a round costs at most one sign of life of the four that
// systemd waits for.
func TestWatchdogForgivesAHiccup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDog(8 * time.Second)
		hold := d.main(t, "feed")
		d.start(t)
		d.during(3 * time.Second)
		letGo := hold()
		before := d.during(1900 * time.Millisecond)
		letGo()
		if n := before + d.during(6*time.Second); n < 3 {
			t.Errorf("%d signs of life in 8 s around a hiccup", n)
		}
		if d.log.Len() > 0 {
			t.Errorf("logged: %s", d.log.String())
		}
	})
}

func TestWatchdogProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDog(4 * time.Second)
		wait := make(chan struct{})
		tries := 0
		d.probe("log", func() {
			if tries++; tries == 3 {
				<-wait
			}
		})
		d.start(t)
		if n := d.during(20 * time.Second); n != 2 || tries != 3 {
			t.Errorf("%d signs of life, %d tries; want 2 and 3: it hangs in the third", n, tries)
		}
		close(wait)
		if n := d.during(4 * time.Second); n < 3 {
			t.Errorf("%d signs of life after it answers", n)
		}
	})
}

// Where systemd asks for nothing it is told nothing.
func TestWatchdogUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDog(0)
		d.main(t, "feed")
		d.start(t)
		if n := d.during(time.Hour); n != 0 {
			t.Errorf("%d signs of life", n)
		}
	})
}

// On a real socket, as systemd has it.
func TestWatchdogOnANotifySocket(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", "40000")
	limit, err := watchdogLimit()
	if err != nil || limit != 40*time.Millisecond {
		t.Fatalf("%v, %v", limit, err)
	}
	w := newWatchdog(limit, (&daemon{log: zerolog.Nop()}).tell, zerolog.Nop())
	w.probe("nothing", func() {})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	if err != nil || string(buf[:n]) != sd.SdNotifyWatchdog {
		t.Errorf("systemd is told %q, %v", buf[:n], err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
