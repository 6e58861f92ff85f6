package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// notifyEvery is how often STATUS= is looked at: it is for people.
const notifyEvery = 250 * time.Millisecond

// stopMargin is what a stop takes besides handing over and releasing: the goodbye
// and the transfer of leadership are bounded by a second each, the announcement
// by two.
const stopMargin = goodbyeWait + stepDownWait + leaveWait + time.Second

// openWatchdog names the loops without which this process decides nothing.
func (d *daemon) openWatchdog() error {
	limit, err := watchdogLimit()
	if err != nil {
		return fmt.Errorf("read systemd's watchdog limit: %w", err)
	}
	d.dog = newWatchdog(limit, d.tell, d.log)
	d.turn = d.dog.loop("feed")
	d.dog.probe("heartbeats", func() { d.beat.Epoch() })
	d.dog.probe("executor", func() { d.exec.Held() })
	return nil
}

// notify tells systemd, where it started this process, when the node is ready,
// until then what it waits for, and that it stops.
func (d *daemon) notify(ctx context.Context) error {
	tick := time.NewTicker(notifyEvery)
	defer tick.Stop()
	said, wasReady := "", false
	for {
		words, ready := d.notice()
		lines := []string{}
		if words != said {
			lines = append(lines, "STATUS="+words)
		}
		if ready && !wasReady {
			lines = append(lines, sd.SdNotifyReady)
			d.log.Info().Msg("ready")
		}
		d.tell(lines...)
		said, wasReady = words, wasReady || ready
		select {
		case <-ctx.Done():
			return nil
		case <-d.stopping:
			d.tellStopping("handing over what this node holds, then releasing the rest")
			return nil
		case <-tick.C:
		}
	}
}

// tellStopping keeps systemd from asking the main loops, which are ending, whether
// they turn, and gives a stop the time that the systems of this node may take.
func (d *daemon) tellStopping(words string) {
	limit := 2*d.stopWait() + stopMargin
	d.tell(sd.SdNotifyStopping, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", limit.Microseconds()), "STATUS=stopping: "+words)
}

func (d *daemon) tell(lines ...string) {
	if len(lines) == 0 {
		return
	}
	if _, err := sd.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		d.log.Warn().Err(err).Msg("systemd cannot be told of the state")
	}
}

// notice is one line for systemd, and whether a restart of the next node may
// go on. A node with an empty data directory is ready at once: the first node
// of a cluster would otherwise wait for others that systemd has yet to start.
// It looks at this node alone: the whole status of a large cluster takes time.
func (d *daemon) notice() (words string, ready bool) {
	st := d.nodeStatus(d.node.Phase())
	if st.Ready {
		return st.Phase, true
	}
	return "waiting: " + strings.Join(st.Waiting, "; "), d.fresh
}
