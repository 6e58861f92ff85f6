package fsm

import "fmt"

// Suppose is what the State would be after some commands, each an entry of its own from
// index `at` on. It changes nothing and nobody agrees on it: for questions of what would
// be. A command that would be refused is an error; moves that match no longer are left
// out, as always.
func (s *State) Suppose(at Index, cmds ...Command) (*State, error) {
	next := s
	for i, c := range cmds {
		var res Result
		var err error
		if next, res, err = next.Apply(at+Index(i), Encode(c)); err != nil {
			return nil, fmt.Errorf("suppose %T: %w", c, err)
		}
		if !res.Applied {
			return nil, fmt.Errorf("suppose %T: %s", c, res.Why)
		}
	}
	return next, nil
}
