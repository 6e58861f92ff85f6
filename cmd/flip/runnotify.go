package main

import (
	"context"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/flip-ha/flip/api"
)

// notifyEvery is how often STATUS= is looked at: it is for people.
const notifyEvery = 250 * time.Millisecond

// notify tells systemd, where it started this process, when the node is ready
// and until then what it waits for. Nothing is told where nobody listens.
func (d *daemon) notify(ctx context.Context) error {
	tick := time.NewTicker(notifyEvery)
	defer tick.Stop()
	said, ready := "", false
	for {
		words, now := d.notice()
		lines := []string{}
		if words != said {
			lines = append(lines, "STATUS="+words)
		}
		if now && !ready {
			lines = append(lines, sd.SdNotifyReady)
			d.log.Info().Msg("ready")
		}
		if len(lines) > 0 {
			if _, err := sd.SdNotify(false, strings.Join(lines, "\n")); err != nil {
				d.log.Warn().Err(err).Msg("systemd cannot be told of the state")
			}
		}
		said, ready = words, ready || now
		select {
		case <-ctx.Done():
			_, err := sd.SdNotify(false, sd.SdNotifyStopping)
			if err != nil {
				d.log.Warn().Err(err).Msg("systemd cannot be told of the stop")
			}
			return nil
		case <-tick.C:
		}
	}
}

// notice is one line for systemd, and whether a restart of the next node may
// go on. A node with an empty data directory is ready at once: the first node
// of a cluster would otherwise wait for others that systemd has yet to start.
func (d *daemon) notice() (words string, ready bool) {
	st := d.Status()
	ready = st.Node.Ready || d.fresh
	if st.Node.Ready {
		words = st.Node.Phase
	} else {
		words = "waiting: " + strings.Join(st.Node.Waiting, "; ")
	}
	for _, a := range st.Alarms {
		if a.Severity == api.Critical {
			return words + " -- " + a.What, ready
		}
	}
	return words, ready
}
