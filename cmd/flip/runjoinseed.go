package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
)

// seedFile, in the data directory of a node that has joined, is what its cluster
// had agreed on when it last wrote it: with it a restart needs nobody.
const seedFile = "cluster.seed"

// seed is what a node begins with that has joined: it stands for the servers and
// systems of a file.
type seed struct {
	cluster string
	spec    fsm.Spec
}

func (s seed) encode() []byte {
	return fsm.Encode(fsm.SetSpec{Cluster: s.cluster, Spec: s.spec})
}

// decodeSeed reads what encode wrote, here or on another member.
func decodeSeed(data []byte) (*seed, error) {
	c, err := fsm.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("decode what the cluster has agreed on: %w", err)
	}
	set, ok := c.(fsm.SetSpec)
	if !ok || set.Cluster == "" || len(set.Spec.Servers) == 0 {
		return nil, errors.New("decode what the cluster has agreed on: it is no configuration")
	}
	return &seed{cluster: set.Cluster, spec: set.Spec}, nil
}

// readSeed is the seed in a data directory; nil: there is none.
func readSeed(dir string) (*seed, error) {
	path := filepath.Join(dir, seedFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read seed: %w", err)
	}
	s, err := decodeSeed(data)
	if err != nil {
		return nil, hinted{fmt.Errorf("read seed %s: %w", path, err), "remove it, and start flip with --join: it is asked for again"}
	}
	return s, nil
}

// write replaces the seed as a whole: after a crash it is the old or the new one.
func (s seed) write(dir string) error {
	if err := raftnode.ReplaceFile(filepath.Join(dir, seedFile), s.encode()); err != nil {
		return fmt.Errorf("write seed: %w", err)
	}
	return nil
}

// keepSeed writes each new configuration into the seed of a node that has joined, and
// into its data directory whose cluster it is. Who is asked first after a long absence
// is then not who was there long ago. An agent has a seed in any case: it has no log
// that would say who votes; and so has who was one.
func (d *daemon) keepSeed(ctx context.Context) error {
	var kept seedKept
	if d.from.seed != nil {
		kept.text = string(d.from.seed.encode())
	}
	for {
		state, at := d.node.View()
		_, agent := d.node.informed()
		if agent || kept.text != "" {
			d.noteSeed(&kept, state)
		}
		// An agent's directory has no log of that cluster, and must not claim one.
		if known := d.from.seed; at > 0 && !agent && known != nil && d.store.Cluster() == "" && state.Cluster() == known.cluster {
			if err := d.store.SetCluster(known.cluster); err != nil {
				return fmt.Errorf("note the cluster's id in %s: %w", d.paths.data, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.node.Changed(at):
		}
	}
}

// seedKept is the seed as it was written last.
type seedKept struct {
	spec *fsm.Spec // of which it was made
	text string
}

// noteSeed writes the seed if it is another one by now.
func (d *daemon) noteSeed(kept *seedKept, state *fsm.State) {
	spec := state.Spec()
	ours := d.cluster() == state.Cluster() && state.Cluster() != "" && spec.Servers[d.self.Name].Name != ""
	if !ours || spec == kept.spec || spec.Version < d.file.Spec.Version {
		return
	}
	kept.spec = spec
	next := seed{state.Cluster(), *spec}
	text := string(next.encode())
	if text == kept.text {
		return
	}
	kept.text = text
	if err := next.write(d.paths.data); err != nil {
		d.log.Warn().Err(err).Msg("what the cluster has agreed on is not noted here: the next start begins with what was noted before")
	}
}
