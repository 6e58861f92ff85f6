package fsm

import "strconv"

// The parameters of FNV-1a. It is written out here since hash/fnv takes memory for each
// key, and programs look keys up by the million.
const (
	fnvOffset64 = 0xcbf29ce484222325
	fnvPrime64  = 0x100000001b3
	fnvOffset32 = 0x811c9dc5
	fnvPrime32  = 0x1000193
)

// Number is the partition that a key maps to, from 0 to Count-1.
func (p Partitions) Number(key string) int {
	if p.Hash == FNV32a {
		h := uint32(fnvOffset32)
		for i := range len(key) {
			h = (h ^ uint32(key[i])) * fnvPrime32
		}
		return int(uint64(h) % uint64(p.Count))
	}
	h := uint64(fnvOffset64)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * fnvPrime64
	}
	return int(h % uint64(p.Count))
}

// Item is the item that a key maps to: the number of its partition.
func (p Partitions) Item(key string) ItemID { return ItemID(strconv.Itoa(p.Number(key))) }

// Share is the server's weight; 1 when nothing is said of it.
func (s Server) Share() int { return max(s.Weight, 1) }

// Load is the item's weight; 1 when nothing is said of it.
func (i Item) Load() int { return max(i.Weight, 1) }

// Ranks is how many members hold each item; 1 when nothing is said of it.
func (s *System) Ranks() int { return max(s.Replicas, 1) }
