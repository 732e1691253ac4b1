/// All of Ramet for torch::nn: include this.
#pragma once

#include <ramet/clone.h>
#include <ramet/errors.h>
#include <ramet/fields.h>
#include <ramet/inplace.h>
#include <ramet/memory.h>
