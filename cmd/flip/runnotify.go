package main

import (
	"context"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// notifyEvery is how often STATUS= is looked at: it is for people.
const notifyEvery = 250 * time.Millisecond

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
			d.tell(sd.SdNotifyStopping, "STATUS=stopping: handing over what this node holds, then releasing the rest")
			return nil
		case <-tick.C:
		}
	}
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
