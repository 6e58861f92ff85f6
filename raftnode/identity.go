package raftnode

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// startAfresh is what to do about a data directory that cannot be used.
const startAfresh = "Move the directory away and start flip again: it makes a new one, and this server is taken in again from the others " +
	"(keep the old one if a majority of the servers are in this state)"

// identity says which data directory this is, and of which cluster.
type identity struct {
	Instance string `json:"instance"`
	Cluster  string `json:"cluster"`
}

func newIdentity() identity {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return identity{Instance: hex.EncodeToString(b[:])}
}

// readIdentity reports whether there is one.
func readIdentity(dir string) (id identity, known bool, err error) {
	path := filepath.Join(dir, identityFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return identity{}, false, nil
	}
	if err != nil {
		return identity{}, false, fmt.Errorf("read identity: %w", err)
	}
	if err := json.Unmarshal(data, &id); err != nil || id.Instance == "" {
		return identity{}, false, fmt.Errorf("%s is damaged: it does not name an instance. %s", path, startAfresh)
	}
	return id, true, nil
}

func writeIdentity(dir string, id identity) error {
	data, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("encode identity: %w", err)
	}
	if err := ReplaceFile(filepath.Join(dir, identityFile), append(data, '\n')); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return nil
}

// ReplaceFile writes a file of a data directory anew, for its owner alone: after a crash
// it is the old one or the new one. One process at a time may do so.
func ReplaceFile(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	// The name is durable only once the directory is.
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
