package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

// renewFile has key_file name the key that is sent by, if it names one that was, or is
// being, rotated away. Any other stays: somebody has put it there.
func (k *keyring) renewFile() {
	set := k.Keys()
	old := set.Gone
	if k.reached.Phase != fsm.KeyBoth { // else what is accepted besides is yet to come
		old = slices.Concat(set.Also, old)
	}
	key := k.given
	if k.file != "" {
		data, err := os.ReadFile(k.file)
		if err != nil {
			return // it was read at the start; who has taken it away knows why
		}
		key = strings.TrimSpace(string(data))
	}
	k.stale = ""
	if !slices.ContainsFunc(old, func(o *secure.Keys) bool { return o.Key() == key }) {
		return
	}
	err := errors.New("the configuration itself has the key")
	if k.file != "" {
		err = replaceKey(k.file, set.Send.Key())
	}
	if err != nil {
		k.stale = err.Error()
		k.log.Warn().Err(err).Str("hint", "put the present one there: `flip key show --secret` prints it; until then what is kept in "+k.dir+" counts").
			Msg("the configuration names a key that was rotated away, and cannot be rewritten")
		return
	}
	k.log.Info().Str("key_file", k.file).Str("fingerprint", set.Send.Mark()).Msg("key_file names the cluster's new key now")
}

// replaceKey puts another key into a file, as a whole: after a crash it has the old or
// the new one. Links are followed; owner and mode stay.
func replaceKey(path, key string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(real)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(real), ".flip-key-*")
	if err != nil {
		return err
	}
	err = func() error {
		if err := f.Chmod(info.Mode().Perm()); err != nil {
			return err
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && (int(owner.Uid) != os.Getuid() || int(owner.Gid) != os.Getgid()) {
			if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintln(f, key)
		return errors.Join(err, f.Sync())
	}()
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), real)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(real))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
