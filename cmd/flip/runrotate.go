package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

const (
	// ackWait bounds the commit of an acknowledgement, ackAgain doubles up to ackMost:
	// the pauses after one that did not get through.
	ackWait  = 2 * time.Second
	ackAgain = 50 * time.Millisecond
	ackMost  = time.Second
)

// keepKeys goes through the phases of a rotation with the others: as soon as the log says
// so it does what a phase asks, and then acknowledges that.
func (d *daemon) keepKeys(ctx context.Context) error {
	pause := ackAgain
	for {
		state, at := d.node.View()
		to := state.Keys()
		again := time.NewTimer(ackMost)
		if !to.Same(fsm.Keys{}) {
			switch done := d.followKey(ctx, state); {
			case done:
				pause = ackAgain
			default:
				again.Reset(pause)
				pause = min(2*pause, ackMost)
			}
		}
		select {
		case <-ctx.Done():
			again.Stop()
			return nil
		case <-d.node.Changed(at):
		case <-again.C:
		}
		again.Stop()
	}
}

// followKey does what the newest phase asks; false: it is to be tried again.
func (d *daemon) followKey(ctx context.Context, s *fsm.State) bool {
	to := s.Keys()
	err := d.reachKey(ctx, to)
	_, listed := s.Spec().Servers[d.self.Name]
	switch {
	case err != nil:
		return false
	case to.Phase == fsm.KeySettled || to.Has(d.self.Name) || !listed:
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, ackWait)
	defer cancel()
	res, err := d.node.Propose(ctx, fsm.KeyAck{Member: d.self.Name, Round: to.Round, Phase: to.Phase})
	if err != nil {
		d.log.Debug().Err(err).Msg("the key's phase is not acknowledged yet, trying again")
		return false
	}
	if !res.Applied {
		d.log.Debug().Str("why", res.Why).Msg("the key's phase is not acknowledged")
	}
	return true
}

// reachKey goes by the keys of a point of the log, and has the guard and all that is idle
// do so too.
func (d *daemon) reachKey(ctx context.Context, to fsm.Keys) error {
	moved, err := d.keys.reach(to, func(handover []byte) {
		if d.guard != nil {
			d.guard.Key(handover)
		}
	})
	if err != nil || !moved {
		return err
	}
	if d.peers.client != nil {
		d.peers.client.CloseIdle()
	}
	d.keys.Cut(ctx)
	return nil
}

// learnKey takes over what another member says of a rotation: this node may have been
// away, or may have been given the new key by hand, and cannot read the log yet.
func (d *daemon) learnKey(ctx context.Context, cluster string, k *api.KeyHint) {
	if mine := d.cluster(); k == nil || cluster == "" || mine != "" && mine != cluster {
		return
	}
	_ = d.reachKey(ctx, k.Keys()) // it is said in log and status
}

// Own implements server.Keyring.
func (k *keyring) Own(into *api.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	into.Fingerprint, into.Stale, into.Trouble = k.Keys().Send.Mark(), k.stale, k.trouble
}

// Secret implements server.Keyring.
func (k *keyring) Secret() string { return k.Keys().Send.Key() }

// Rotation implements server.Keyring.
func (k *keyring) Rotation(ctx context.Context, after fsm.Keys, key string) (fsm.Rotate, error) {
	set := k.Keys()
	key = strings.TrimSpace(key)
	is := func(o *secure.Keys) bool { return o.Key() == key }
	switch {
	case len(set.Also) > 0:
		return fsm.Rotate{}, &api.Error{
			Code: api.CodeUnavailable, Message: "this node has not ended the former rotation yet",
			Hint: "try again; `flip key show` says how far it is",
		}
	case key == "":
		key = secure.NewKey()
	case len(key) > maxKey || strings.ContainsAny(key, "\r\n"):
		return fsm.Rotate{}, &api.Error{Code: api.CodeBadRequest, Message: "the key has several lines, or is too long", Hint: "flip keygen makes a good one"}
	case is(set.Send):
		return fsm.Rotate{}, &api.Error{Code: api.CodeRefused, Message: "the new key is the present one", Hint: "flip keygen makes another"}
	case slices.ContainsFunc(set.Gone, is):
		return fsm.Rotate{}, &api.Error{Code: api.CodeRefused, Message: "the new key is one that was rotated away before", Hint: "flip keygen makes another"}
	}
	fresh, err := k.derive(ctx, key)
	if err != nil {
		return fsm.Rotate{}, err
	}
	return fsm.Rotate{Was: after.Round, Old: set.Send.Mark(), New: fresh.Mark(), Sealed: set.Send.Seal(fresh), Back: fresh.Seal(set.Send)}, nil
}

// alarms are what is wrong with this node's keys.
func (k *keyring) alarms() []api.Alarm {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []api.Alarm
	if k.stale != "" {
		out = append(out, api.Alarm{
			Severity: api.Warning, What: "this node's configuration names a key that was rotated away: " + k.stale,
			Do: "put the present one there, `flip key show --secret` prints it; what is kept in " + k.dir + " counts until then",
		})
	}
	if k.trouble != "" {
		out = append(out, api.Alarm{
			Severity: api.Critical, What: "this node cannot go along with the rotation of the cluster's key: " + k.trouble,
			Do: fmt.Sprintf("`flip key show --secret` on another member prints the key: put it into this node's configuration, move %s in %s away, and restart flip here", ringFile, k.dir),
		})
	}
	return out
}
