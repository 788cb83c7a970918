# Arrow C++ as the target Arrow::arrow_shared, and its version as ARROW_VERSION; pennon_arrow_problem: what is wrong.
# It is the host's own where it has defined that target, else in Arrow_ROOT, the prefix of an installed Arrow or the
# folder of a pyarrow, else an installed Arrow's CMake package, else the pyarrow that the python3 on the PATH imports.
# pennon_arrow_minor: the version wanted, such as 26.0, which is what Arrow's soname stands for; empty: 24 or newer.
set(pennon_arrow_problem "")
set(_pennon_wanted "Arrow C++ 24 or newer")
set(_pennon_pip "pyarrow>=24")
if(pennon_arrow_minor)
  set(_pennon_wanted "Arrow C++ ${pennon_arrow_minor}, with which pennon was built")
  set(_pennon_pip "pyarrow==${pennon_arrow_minor}.*")
endif()

if(NOT TARGET Arrow::arrow_shared)
  file(GLOB _pennon_library "${Arrow_ROOT}/libarrow.so.*" "$ENV{Arrow_ROOT}/libarrow.so.*")
  if(NOT _pennon_library)
    find_package(Arrow ${pennon_arrow_minor} CONFIG QUIET)
  endif()
  if(NOT _pennon_library AND NOT Arrow_FOUND)
    execute_process(COMMAND python3 -c "import pyarrow; print(pyarrow.__path__[0])"
      OUTPUT_VARIABLE _pennon_pyarrow OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    file(GLOB _pennon_library "${_pennon_pyarrow}/libarrow.so.*")
  endif()
  if(_pennon_library)
    list(GET _pennon_library 0 _pennon_library)
    cmake_path(GET _pennon_library PARENT_PATH _pennon_pyarrow)
    file(STRINGS "${_pennon_pyarrow}/include/arrow/util/config.h" ARROW_VERSION REGEX "define ARROW_VERSION_STRING")
    string(REGEX MATCH "[0-9][^\"]*" ARROW_VERSION "${ARROW_VERSION}")
    add_library(Arrow::arrow_shared SHARED IMPORTED)
    set_target_properties(Arrow::arrow_shared PROPERTIES
      IMPORTED_LOCATION "${_pennon_library}" INTERFACE_INCLUDE_DIRECTORIES "${_pennon_pyarrow}/include")
  endif()
endif()

if(NOT TARGET Arrow::arrow_shared)
  set(pennon_arrow_problem "There is no shared ${_pennon_wanted}.")
elseif(ARROW_VERSION AND (ARROW_VERSION VERSION_LESS 24
    OR pennon_arrow_minor AND NOT "${ARROW_VERSION}." MATCHES "^${pennon_arrow_minor}\\."))
  get_target_property(_pennon_library Arrow::arrow_shared LOCATION)
  set(pennon_arrow_problem "Found Arrow C++ ${ARROW_VERSION} (${_pennon_library}), expected ${_pennon_wanted}.")
endif()
if(pennon_arrow_problem)
  string(APPEND pennon_arrow_problem " Install its CMake package (https://arrow.apache.org/install), or "
    "`python3 -m pip install '${_pennon_pip}'`, or set Arrow_ROOT to the prefix of the one or the folder of the other.")
endif()
