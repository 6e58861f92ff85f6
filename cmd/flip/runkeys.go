package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/config"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
	"github.com/flip-ha/flip/secure"
)

// ringFile, in the data directory, is there from the first rotation of the key on: which
// keys count here. It outranks a key that was rotated away in the configuration.
const ringFile = "keys.json"

// goneKept is how many keys that were rotated away are remembered, so that who still has
// one can be told.
const goneKept = 4

// storedKey is one key in ringFile, with what is slow to derive of it.
type storedKey struct {
	Key  string `json:"key"`
	Root []byte `json:"root"`
	Mark string `json:"mark"`
}

// storedRing is ringFile.
type storedRing struct {
	Round fsm.Index    `json:"round"`
	Phase fsm.KeyPhase `json:"phase"`
	Keys  []storedKey  `json:"keys"` // that count; the first is sent by
	Gone  []storedKey  `json:"gone,omitempty"`
}

func storeKeys(keys []*secure.Keys) []storedKey {
	var out []storedKey
	for _, k := range keys {
		out = append(out, storedKey{k.Key(), k.Root(), k.Mark()})
	}
	return out
}

func reviveKeys(stored []storedKey) ([]*secure.Keys, error) {
	var out []*secure.Keys
	for _, s := range stored {
		k, err := secure.Revive(s.Key, s.Root)
		if err == nil && k.Mark() != s.Mark {
			err = errors.New("a key and its mark do not go together")
		}
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}

// keyring is the cluster's key as this node has it: what it goes by, and where it is
// kept.
type keyring struct {
	*secure.Ring
	dir, file string // the data directory; key_file, "" if there is none
	given     string // the key of the configuration itself, if there is no key_file
	log       zerolog.Logger
	derive    deriver // while heartbeats are due

	mu      sync.Mutex
	reached fsm.Keys // the point of the log's up to which this node has gone
	stale   string   // why the configuration still has a key that was rotated away
	trouble string   // why this node cannot go further
}

// deriver makes Keys of a key: slow, unless it was done before.
type deriver func(ctx context.Context, key string) (*secure.Keys, error)

func deriveHere(_ context.Context, key string) (*secure.Keys, error) {
	return secure.Derive([]byte(key))
}

// openKeyring reads the keys that this node begins with: those in its data directory, or
// else the one of its configuration.
func openKeyring(ctx context.Context, dir string, node config.Node, log zerolog.Logger, derive deriver) (*keyring, error) {
	key, err := readNodeKey(node, log)
	if err != nil {
		return nil, err
	}
	k := &keyring{dir: dir, file: node.KeyFile, given: node.Key, log: log, derive: deriveApart}
	set, at, err := readRing(dir)
	if err != nil {
		return nil, err
	}
	if set.Send != nil && !knowsKey(set, key) {
		log.Warn().Str("data_dir", dir).Str("hint", "the former ones are in "+ringFile+".aside there").
			Msg("the configuration has a key that is none of those kept in the data directory: it counts")
		if err := os.Rename(filepath.Join(dir, ringFile), filepath.Join(dir, ringFile+".aside")); err != nil {
			return nil, fmt.Errorf("put the former keys aside: %w", err)
		}
		set, at = secure.KeySet{}, fsm.Keys{}
	}
	if set.Send == nil {
		if set.Send, err = derive(ctx, key); err != nil {
			return nil, fmt.Errorf("derive the cluster's keys: %w", err)
		}
	}
	k.Ring, k.reached = secure.NewRing(set), at
	if reason, weak := secure.Weak(set.Send.Key()); weak {
		log.Warn().Str("reason", reason).Str("hint", "flip keygen makes a good one; flip key rotate has all nodes go over to it").Msg("the shared key is weak")
	}
	k.renewFile()
	return k, nil
}

// readNodeKey is the key of a node's configuration.
func readNodeKey(node config.Node, log zerolog.Logger) (string, error) {
	name := node.KeyFile
	if name == "" {
		return node.Key, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return "", hinted{fmt.Errorf("read key_file: %w", err), "flip keygen > FILE; chmod 0600 FILE; the same on every node"}
	}
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o077 != 0 {
		log.Warn().Str("key_file", name).Stringer("mode", info.Mode().Perm()).Str("hint", "chmod 0600 "+name).
			Msg("others than its owner can read the shared key")
	}
	return strings.TrimSpace(string(data)), nil
}

// knowsKey reports whether a key is one of a set's, counting or gone.
func knowsKey(set secure.KeySet, key string) bool {
	return slices.ContainsFunc(allKeys(set), func(k *secure.Keys) bool { return k.Key() == key })
}

func allKeys(set secure.KeySet) []*secure.Keys {
	return slices.Concat([]*secure.Keys{set.Send}, set.Also, set.Gone)
}

// readRing reads ringFile; without one there is nothing in the set.
func readRing(dir string) (set secure.KeySet, at fsm.Keys, err error) {
	path := filepath.Join(dir, ringFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return set, at, nil
	}
	if err != nil {
		return set, at, fmt.Errorf("read the keys in %s: %w", dir, err)
	}
	var s storedRing
	var keys []*secure.Keys
	if err = json.Unmarshal(data, &s); err == nil {
		keys, err = reviveKeys(s.Keys)
	}
	if err == nil && len(keys) == 0 {
		err = errors.New("it has no key")
	}
	if err == nil {
		set.Gone, err = reviveKeys(s.Gone)
	}
	if err != nil {
		return secure.KeySet{}, at, hinted{
			fmt.Errorf("read the keys in %s: %w", path, err),
			"`flip key show --secret` on another member prints the present key: put it into this node's configuration, and move " + path + " away",
		}
	}
	set.Send, set.Also = keys[0], keys[1:]
	return set, fsm.Keys{Round: s.Round, Phase: s.Phase}, nil
}

// reach goes by what the cluster has agreed about its key, up to that point; an earlier
// one changes nothing. When it returns without an error a crash takes nothing of it
// back, and tell was told what to hand over to who speaks for a dead process.
func (k *keyring) reach(to fsm.Keys, tell func(handover []byte)) (moved bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.reached.Before(to) {
		return false, nil
	}
	set, err := keysAt(k.Keys(), to)
	if errors.Is(err, errNotGiven) && !to.Rotating() {
		// That rotation is over, and the key of all is another one: somebody has put it
		// into the configuration of each.
		k.reached = fsm.Keys{Round: to.Round, Phase: to.Phase}
		return false, nil
	}
	if err == nil {
		err = k.keep(set, to)
	}
	if err != nil {
		if k.trouble != err.Error() {
			k.trouble = err.Error()
			k.log.Error().Err(err).Str("fingerprint", to.New).Msg("this node cannot go along with the rotation of the cluster's key")
		}
		return false, err
	}
	k.trouble = ""
	tell(set.Handover())
	k.Set(set)
	k.reached = fsm.Keys{Round: to.Round, Phase: to.Phase}
	k.log.Info().Str("phase", to.Phase.String()).Str("sends_by", set.Send.Mark()).Int("accepts", 1+len(set.Also)).Msg("the cluster's key")
	k.renewFile()
	return true, nil
}

// keep writes which keys count from a point on.
func (k *keyring) keep(set secure.KeySet, at fsm.Keys) error {
	s := storedRing{Round: at.Round, Phase: at.Phase, Keys: storeKeys(append([]*secure.Keys{set.Send}, set.Also...)), Gone: storeKeys(set.Gone)}
	data, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = raftnode.ReplaceFile(filepath.Join(k.dir, ringFile), append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep the cluster's keys in %s: %w", k.dir, err)
	}
	return nil
}

// errNotGiven says that this node has no key under which the new one is sealed.
var errNotGiven = errors.New("this node has neither the key that is rotated away nor the new one")

// keysAt is which keys count at one point of the log, of those there are and those that
// the log gives.
func keysAt(have secure.KeySet, at fsm.Keys) (secure.KeySet, error) {
	former, _ := have.Find(at.Old)
	fresh, _ := have.Find(at.New)
	var err error
	switch {
	case fresh == nil && former != nil && len(at.Sealed) > 0:
		fresh, err = unsealed(former, at.Sealed, at.New)
	case former == nil && fresh != nil && len(at.Back) > 0:
		former, err = unsealed(fresh, at.Back, at.Old)
	}
	if err != nil {
		return secure.KeySet{}, err
	}
	if fresh == nil || at.Rotating() && former == nil {
		return secure.KeySet{}, errNotGiven
	}
	var next secure.KeySet
	switch at.Phase {
	case fsm.KeyBoth:
		next.Send, next.Also = former, []*secure.Keys{fresh}
	case fsm.KeyNew:
		next.Send, next.Also = fresh, []*secure.Keys{former}
	default:
		next.Send = fresh
	}
	counts := append([]*secure.Keys{next.Send}, next.Also...)
	for _, k := range allKeys(have) {
		if !slices.Contains(counts, k) && len(next.Gone) < goneKept {
			next.Gone = append(next.Gone, k)
		}
	}
	return next, nil
}

// unsealed opens a key of the log's and looks whether it is the one that is meant.
func unsealed(with *secure.Keys, sealed []byte, mark string) (*secure.Keys, error) {
	k, err := with.Unseal(sealed)
	if err != nil {
		return nil, fmt.Errorf("open the key in the log: %w", err)
	}
	if k.Mark() != mark {
		return nil, fmt.Errorf("open the key in the log: it is %s, and %s is what was agreed on", k.Mark(), mark)
	}
	return k, nil
}
