// Files have no owner in this sense elsewhere.

//go:build !unix

package caddymodule

import (
	"io/fs"
	"os"
)

func keepOwner(*os.File, fs.FileInfo) {}
