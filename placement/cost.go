package placement

// rated is what it costs that one member has one item, each layer in bits of its own:
// a higher layer outweighs all below it. It is added up only where the sums are
// compared layer by layer (vec).
type rated int64

// The layers of rated, from the top. Whoever has the item already, and may keep it,
// costs nothing in the three of them that concern newcomers.
const (
	atHome    = 0  // 1: it is neither preferred nor at home
	atPrefer  = 8  // how far down the list of preferred members
	atEarly   = 28 // 1: taken from who could keep it, for one that may not do that yet
	atWaiting = 32 // 1: a newcomer that is not settled
	atYoung   = 36 // 1: a newcomer that is not mature
	atFailed  = 40 // 1: it has failed there
	atCompany = 44 // systems that go with this one and cannot be there

	impossible rated = -1
	maxPrefer        = 1<<20 - 1
)

func layer(on bool, at uint) rated {
	if on {
		return 1 << at
	}
	return 0
}

// vec is what a placement costs, most important first: replicas that nobody has; how
// unevenly they are spread over zones; who has failed, and company; newcomers that
// would better wait; preference and home; the balance of loads; copies to be made.
type vec [7]int64

const (
	vecPlaces  = iota // ranks 0<<42 | ranks 1<<21 | all others that nobody has
	vecZones          // squares of the replicas in each zone
	vecGrade          // company<<42 | failed<<21 | young
	vecWant           // waiting<<42 | early<<21
	vecHome           // prefer<<21 | home
	vecBalance        // squares of loads, each by its share
	vecCopies         // copies to be made<<21 | ranks of those that stay
)

const sumBits = 21

// unplaced is what it costs that nobody has a rank.
func unplaced(rank int) int64 { return 1 << (sumBits * (2 - min(rank, 2))) }

func (a vec) add(b vec) vec {
	for i := range a {
		a[i] += b[i]
	}
	return a
}

func (a *vec) less(b *vec) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// vec spreads the layers so that sums of many keep apart.
func (r rated) vec() vec {
	field := func(at, bits uint) int64 { return int64(r>>at) & (1<<bits - 1) }
	return vec{
		vecGrade: field(atCompany, 16)<<(2*sumBits) + field(atFailed, 4)<<sumBits + field(atYoung, 4),
		vecWant:  field(atWaiting, 4)<<(2*sumBits) + field(atEarly, 4)<<sumBits,
		vecHome:  field(atPrefer, 20)<<sumBits + field(atHome, 8),
	}
}
