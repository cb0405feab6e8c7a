# Everything from outside, as imported targets: ei, uv, md (its MD5), xxhash, uthash, seccomp where it is;
# cmocka for the tests.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(uv REQUIRED IMPORTED_TARGET libuv)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(md REQUIRED IMPORTED_TARGET libmd)
pkg_check_modules(seccomp IMPORTED_TARGET libseccomp)

find_program(ERL erl REQUIRED)
if(NOT ERL_INTERFACE_DIR)
  execute_process(
    COMMAND ${ERL} -noinput -boot start_clean -eval
            "io:put_chars(code:lib_dir(erl_interface)), halt()."
    OUTPUT_VARIABLE erl_interface_dir COMMAND_ERROR_IS_FATAL ANY)
  set(ERL_INTERFACE_DIR "${erl_interface_dir}" CACHE PATH "where erl_interface is")
endif()
find_path(EI_INCLUDE ei.h PATHS ${ERL_INTERFACE_DIR}/include REQUIRED)
find_library(EI_LIBRARY ei PATHS ${ERL_INTERFACE_DIR}/lib REQUIRED)
add_library(ei STATIC IMPORTED)
set_target_properties(ei PROPERTIES IMPORTED_LOCATION ${EI_LIBRARY}
                      INTERFACE_INCLUDE_DIRECTORIES ${EI_INCLUDE}
                      INTERFACE_LINK_LIBRARIES Threads::Threads)

find_path(UTHASH_INCLUDE uthash.h REQUIRED)
add_library(uthash INTERFACE)
target_include_directories(uthash SYSTEM INTERFACE ${UTHASH_INCLUDE})

if(EMMAP_TESTS)
  pkg_check_modules(cmocka REQUIRED IMPORTED_TARGET cmocka)
endif()
