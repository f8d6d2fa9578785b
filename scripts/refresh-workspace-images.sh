#!/bin/sh
# As the platform calls it: [--runtime NAME] [--no-recreate]. The work is a command of the program.
exec imagewatch refresh "$@"
