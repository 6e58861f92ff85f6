package config

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// VotersDigest is the same on two nodes exactly when their files name the same
// voters at the same addresses; founding compares it (DESIGN.md 6).
func VotersDigest(s fsm.Spec) [32]byte {
	h := sha256.New()
	put := func(text string) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(text))))
		h.Write([]byte(text))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Servers)) {
		if server := s.Servers[name]; server.Votes() {
			put(string(name))
			put(server.Addr)
		}
	}
	return [32]byte(h.Sum(nil))
}
