package guard

import "os"

// In is the end that descriptors go into.
func (h *Hold) In() *os.File { return h.in }
