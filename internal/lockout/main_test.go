package lockout

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// awayFor is how long package sealed leaves a storage alone that has failed.
const awayFor = 5 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
