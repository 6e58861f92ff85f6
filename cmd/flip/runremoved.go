package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
)

const (
	// removedEvery is how often a node looks whether it still is a member.
	removedEvery = time.Second
	// lostFor is for how many looks in a row a node has no leader before it asks
	// others whether it was removed: nobody sends anything to who is not a member.
	lostFor = 5
)

// errRemoved ends a daemon whose node was taken out of the cluster.
var errRemoved = errors.New("this node was removed from the cluster")

// keepPlace ends this daemon once its node was taken out of the cluster. It owned
// nothing any more by then; what it holds nevertheless, it lets go of.
func (d *daemon) keepPlace(ctx context.Context) error {
	tick := time.NewTicker(removedEvery)
	defer tick.Stop()
	lost := 0
	for {
		state, at := d.node.View()
		index, gone := d.wasRemoved(state, at)
		if leader, _ := d.node.Leader(); leader != "" {
			lost = 0
		} else if !gone && lost >= lostFor {
			lost = 0
			index, gone = d.askRemoved(ctx, state, at)
		}
		if gone {
			return d.leave(ctx, index)
		}
		var read <-chan struct{} // an agent reads it, a server has to ask
		if _, informed := d.node.informed(); informed {
			read = d.node.Changed(at)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-read:
		case <-tick.C:
			lost++
		}
	}
}

// wasRemoved reports whether the log, as far as this node has it, has taken this
// node out, this very instance of it: a log that is still being read may tell of a
// former one under this name. Not before others have confirmed it: without this node's
// vote a removal that was lost with its leader could leave too few.
//
// An agent reads what is committed: that it is not named any more is enough, once it
// was.
func (d *daemon) wasRemoved(s *fsm.State, at fsm.Index) (fsm.Index, bool) {
	if _, informed := d.node.informed(); informed {
		return at, d.isUnnamed(s, at)
	}
	server, listed := s.Spec().Servers[d.self.Name]
	reg, known := s.Member(d.self.Name)
	if !known || reg.Host.Instance != d.self.Instance || listed && !server.Removing {
		return 0, false
	}
	phase := d.node.Phase()
	return phase.Removed, phase.Stage == raftnode.StageRemoved && phase.Removed != 0
}

// isUnnamed reports whether a configuration that was read is without this agent, and a
// former one was not.
func (d *daemon) isUnnamed(s *fsm.State, at fsm.Index) bool {
	if _, listed := s.Spec().Servers[d.self.Name]; listed || s.Spec().Version == 0 || s.Cluster() != d.cluster() {
		return false
	}
	epoch := d.beat.Epoch()
	return epoch != 0 && at >= fsm.Index(epoch) || d.from.seed != nil && s.Spec().Version > d.from.seed.spec.Version
}

// askRemoved asks the others. One that has read the log further than this node, and
// does not find it among the members, knows better.
func (d *daemon) askRemoved(ctx context.Context, s *fsm.State, at fsm.Index) (fsm.Index, bool) {
	floor := max(at, d.file.Spec.Version)
	mine := api.Join{Name: d.self.Name, Instance: d.self.Instance, Version: thisVersion().Version, Wire: wireVersions, Cluster: d.cluster()}
	for name, server := range d.spec().Servers {
		if name == d.self.Name {
			continue
		}
		one, cancel := context.WithTimeout(ctx, joinWait)
		got, err := d.peers.client.Join(one, client.Target{Addr: server.Addr, Name: name}, mine)
		cancel()
		if err == nil && isGone(got, d.cluster(), s.Cluster(), floor) {
			return got.Index, true
		}
	}
	return 0, false
}

// isGone reports whether an answer proves a removal.
func isGone(got api.Joined, cluster, agreed string, floor fsm.Index) bool {
	return !got.Named && !got.Removing && got.Cluster != "" && got.Cluster == cluster && got.Leader != "" && got.Index >= floor && (agreed == "" || agreed == cluster)
}

// leave lets go of everything, and ends.
func (d *daemon) leave(ctx context.Context, index fsm.Index) error {
	words := "removed from the cluster"
	if index > 0 {
		words = fmt.Sprintf("removed from the cluster at index %d", index)
	}
	d.tellStopping(words)
	if err := d.release(ctx, true); err != nil {
		return err
	}
	d.log.Warn().Str("hint", "to take part again: move "+d.paths.data+" away, start flip with --join, and add it: flip member add").Msg(words)
	return errRemoved
}
