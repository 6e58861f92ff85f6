package api

// PathNeighbours is on the members-only port: a member tells the others what it
// knows of the network. That is shared beside the log, which is no place for
// what changes by itself and may be lost.
const PathNeighbours = "/v1/peer/neighbours"

// MaxNeighbours is how many neighbours a member tells of: a /20 full of hosts.
const MaxNeighbours = 4096

// Neighbours is what one member knows: its own hardware addresses, by which the
// others tell it from a stranger, and its neighbours, whom a new holder of an
// address tells of it.
type Neighbours struct {
	MACs  []string    `json:"macs"`
	Known []Neighbour `json:"known,omitempty"`
	Ask   bool        `json:"ask,omitempty"` // the sender has heard nothing of the receiver yet
}

// Neighbour is one host of a network that flip's members share.
type Neighbour struct {
	IP  string `json:"ip"`
	MAC string `json:"mac"`
}
