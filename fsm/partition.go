package fsm

import (
	"hash/fnv"
	"strconv"
)

// Item is the item that a key maps to.
func (p Partitions) Item(key string) ItemID {
	if p.Hash == FNV32a {
		h := fnv.New32a()
		_, _ = h.Write([]byte(key)) // a hash never fails
		return ItemID(strconv.FormatUint(uint64(h.Sum32())%uint64(p.Count), 10))
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	return ItemID(strconv.FormatUint(h.Sum64()%uint64(p.Count), 10))
}

// Share is the server's weight; 1 when nothing is said of it.
func (s Server) Share() int { return max(s.Weight, 1) }

// Load is the item's weight; 1 when nothing is said of it.
func (i Item) Load() int { return max(i.Weight, 1) }

// Ranks is how many members hold each item; 1 when nothing is said of it.
func (s *System) Ranks() int { return max(s.Replicas, 1) }
